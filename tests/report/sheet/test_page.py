"""The page shows what was measured, in a real browser, on a phone and in the dark, and nothing on it acts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.data.collection import Item
from edgecnn.report.sheet import Sheet, gather, write
from edgecnn.report.subject import read_artifact
from tests.fixtures.artifacts import solid, tiny_artifact
from tests.fixtures.chromium import Chromium
from tests.report.sheet.conftest import HOSTILE, MakeSheet, studied, timing


def saved(sheet: Sheet, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(write(sheet, "html"), encoding="utf-8")
    return path


def sections(page: str) -> list[str]:
    return re.findall(r'<section class="card" id="(\w+)">', page)


ALL = ["accuracy", "mistakes", "confidence", "parity", "speed", "layers", "memory", "training", "about", "provenance"]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("width", "dark"), [(360, False), (390, True), (1200, False)])
def test_everything_is_on_the_page_and_fits(several: bool, width: int, dark: bool, make_sheet: MakeSheet, tmp_path: Path, chromium: Chromium) -> None:
    page = chromium.open(saved(make_sheet(several=several), tmp_path), width=width, dark=dark)
    assert chromium.fits(page)
    assert page.locator("section").evaluate_all("found => found.map(one => one.id)") == ALL
    assert page.title() == page.locator("h1").inner_text() == "colors 1.0.0"
    links = page.locator("nav a").evaluate_all("found => found.map(one => one.getAttribute('href'))")
    assert links == [f"#{name}" for name in ALL]
    drawn = page.locator("svg").evaluate_all("found => found.filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect().width)")
    assert len(drawn) >= 8
    assert min(drawn) > 40
    pictures = page.locator("#mistakes img").evaluate_all("found => found.map(one => one.naturalWidth)")
    assert len(pictures) >= 1
    assert min(pictures) >= 20
    overlapping = page.locator(".plot").evaluate_all(
        """plots => plots.filter(plot => { const boxes = [...plot.querySelectorAll('.tick.x')].map(one => one.getBoundingClientRect());
        return boxes.some((box, at) => at && box.left < boxes[at - 1].right) }).map(plot => plot.parentElement.innerText)"""
    )
    assert overlapping == []


def test_the_figures_are_those_that_were_measured(make_sheet: MakeSheet, tmp_path: Path, chromium: Chromium) -> None:
    sheet = make_sheet()
    page = chromium.open(saved(sheet, tmp_path))
    assert sheet.study is not None
    tiles = [text.replace("\u00a0", " ") for text in page.locator("header .tile").all_inner_texts()]
    assert "88.89 %\ntop-1 accuracy of 9 images, 95 % interval 56.5 % to 98.0 %" in tiles
    assert "100.00 %\nof 2 decisions are the source network's" in tiles
    assert "1.04 ms\nlatency, median, p99 1.080 ms" in tiles
    assert "780 bytes\nof activations at most at one time" in tiles  # the image, 3 x 8 x 8 floats, and the 3 means
    assert page.locator("table.matrix tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))") == [
        ["red", "3", "0", "0"],
        ["green", "0", "2", "1"],
        ["blue", "0", "0", "3"],
    ]
    assert page.locator(".mistake").all_inner_texts()[0].replace("\u00a0", " ").startswith("green → blue\n\n1 of 3 images, 33.3 %\n\n1.00")
    assert "1,201 runs" in page.locator("#speed").inner_text()
    assert "The last bar also holds the 1 slowest, up to 90.00 ms" in page.locator("#speed").inner_text().replace("\u00a0", " ")
    assert page.locator("#training .plot").count() == 2
    assert "arXiv:1706.04599" in page.locator("#confidence").inner_text()
    assert page.locator("#parity tbody tr").first.inner_text().split()[:3] == ["export", "3", str(sheet.artifact.report.stages[0].bytes)]


def test_what_is_not_known_has_no_section(make_sheet: MakeSheet) -> None:
    page = write(make_sheet(full=False), "html")
    assert sections(page) == ["accuracy", "parity", "layers", "memory", "about", "provenance"]
    assert "No accuracy was measured" in page
    assert sections(page) == re.findall(r'<a href="#(\w+)">', page)


def test_equal_sheets_make_equal_pages_without_a_path(make_sheet: MakeSheet, tmp_path: Path) -> None:
    assert write(make_sheet(), "html") == write(make_sheet(), "html")
    assert str(tmp_path) not in write(make_sheet(), "html")


def test_nothing_from_outside_acts_or_is_loaded(hostile_sheet: Sheet, tmp_path: Path, chromium: Chromium) -> None:
    page = chromium.open(saved(hostile_sheet, tmp_path), width=390)
    assert page.title() == "hostile 1.0.0"
    assert page.locator("script").count() == 0
    assert page.locator("img:not(.pixels)").count() == 0
    assert page.locator("a:not(nav a)").count() == 0
    assert chromium.fits(page)
    assert f"{HOSTILE} 1 → {HOSTILE} 2" in page.locator("#mistakes").inner_text()
    assert f"{HOSTILE} 0" in page.locator("table.matrix").inner_text()
    assert f"{HOSTILE} /fc/Gemm" in page.locator("#memory").inner_text()


def test_what_a_person_says_is_markdown_without_pictures_and_scripts(make_sheet: MakeSheet, tmp_path: Path, chromium: Chromium) -> None:
    page = chromium.open(saved(make_sheet(), tmp_path))
    assert page.locator("header em").inner_text() == "colours"
    assert "<script>1</script>" in page.locator("header").inner_text()
    assert page.locator("#about img").count() == 0
    assert "[y](javascript:1)" in page.locator("#about").inner_text()


def test_a_forced_artifact_and_a_benchmark_that_drifted_say_so(make_sheet: MakeSheet) -> None:
    forced = make_sheet(full=False, force=True)
    drifted = replace(forced, timing=timing((1_000_000,) * 100 + (2_000_000,) * 100))
    page = write(drifted, "html")
    assert '<span class="chip bad">packed by force: parity was not proved</span>' in page
    assert '<span class="chip warn">latency not to be trusted</span>' in page
    assert "Not to be trusted: latency drifted by +100.0%" in page


def test_parity_is_drawn_where_something_differs(make_sheet: MakeSheet) -> None:
    sheet = make_sheet(full=False)
    stage, report = sheet.artifact.report.stages[0], sheet.artifact.report
    assert stage.against_source is not None
    assert stage.against_source.max_abs == 0
    assert "No stage's answers (logits) differ" in write(sheet, "html").replace("&#39;", "'")
    apart = replace(stage, name="quantize", against_source=replace(stage.against_source, max_abs=0.5, mean_abs=0.1, sqnr_db=30.0))
    both = replace(sheet, artifact=replace(sheet.artifact, report=replace(report, stages=(stage, apart))))
    page = write(both, "html")
    assert 'aria-label="quantize: largest difference 0.5, mean difference 0.1"' in page
    assert "A faint dot at its end is no difference at all." in page


def test_what_the_runtime_adds_and_quantizing_costs_is_told_where_it_was_timed(make_sheet: MakeSheet) -> None:
    sheet = make_sheet(full=False)
    layer = replace(sheet.artifact.report.layers[0], name="input_QuantizeLinear", operator="QuantizeLinear")
    report = replace(sheet.artifact.report, layers=(layer, *sheet.artifact.report.layers))
    sheet = replace(sheet, artifact=replace(sheet.artifact, report=report))
    assert "input_QuantizeLinear" not in write(sheet, "html")
    timed = timing((1_000_000,) * 200, layers={"input_QuantizeLinear": 0.5, "/fc/Gemm": 0.25}, others={"Transpose": 0.25})
    page = write(replace(sheet, timing=timed), "html").replace("\u00a0", " ")
    assert 'aria-label="input_QuantizeLinear: 0.5000 ms, 50.0 %"' in page
    assert "In no layer: Transpose 0.2500 ms, which the runtime adds." in page


def test_layers_are_drawn_by_time_where_it_is_known(make_sheet: MakeSheet) -> None:
    sheet = make_sheet(full=False)
    assert "Multiply-accumulates of each layer" in write(sheet, "html")
    timed = write(replace(sheet, timing=timing((1_000_000,) * 200, layers={"/fc/Gemm": 0.25, "/pool/GlobalAveragePool": 0.75})), "html")
    assert "Time of each layer" in timed
    assert re.search(r"0\.7500\sms, 75\.0\s%", timed)


class Many:
    """An image of each of many labels."""

    multi_label = False

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Item]:
        return (Item(name=f"{n}.png", source=solid("red", (2, 2)), target=(n,)) for n in range(len(self.labels)))


def test_hundreds_of_labels_stay_a_page_that_can_be_read(tmp_path: Path, chromium: Chromium) -> None:
    labels = tuple(f"label {n}" for n in range(300))
    path = tiny_artifact(tmp_path / "many.edgecnn", spec=make_spec(name="many", labels=labels, preprocess=Preprocess(size=(8, 8))))
    sheet = gather(read_artifact(path), study=studied(path, Many(labels)))
    written = write(sheet, "html")
    assert len(written) < 200_000
    assert "matrix" not in re.sub(r"<style>.*</style>", "", written, flags=re.DOTALL)
    page = chromium.open(saved(sheet, tmp_path), width=360)
    assert chromium.fits(page)
    assert page.locator(".mistake").count() == 8
