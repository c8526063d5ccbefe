"""The page of a comparison, in a real browser: on a phone and in the dark, with the images on which the two part, and nothing on it acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.device.bench.report import BenchReport
from edgecnn.report.diff import compare
from edgecnn.report.diff.answers import compare_answers
from edgecnn.report.diff.page import page
from edgecnn.report.diff.records import Diff
from edgecnn.report.diff.side import of_graph
from tests.fixtures.chromium import Chromium
from tests.fixtures.onnx_nets import residual
from tests.report.diff.graphs import quantized
from tests.report.diff.test_answers import Images, deciding, model

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture
def found() -> Diff:
    """Everything but labels and preprocessing differs."""
    answers = compare_answers(
        model(deciding([0, 1, 2, 0])), model(deciding([0, 2, 1, 1])), Images([(0,), (1,), (1,), (2,)]), data=HOSTILE, pictures=True
    )
    bench = BenchReport(
        name="a",
        batch=1,
        provider="CPUExecutionProvider",
        threads=1,
        load_ns=1,
        first_ns=1,
        process_peak_mib=1.0,
        warmup=0,
        min_seconds=0,
        min_runs=100,
        interrupted=False,
        samples_ns=tuple(range(100_000, 100_200)),
    )
    slower = replace(bench, samples_ns=tuple(2 * sample for sample in bench.samples_ns))
    sides = of_graph(residual(), file=HOSTILE), of_graph(quantized("int8"), file="b.onnx")
    return compare(*sides, answers=answers, latency=(bench, slower))


def saved(found: Diff, tmp_path: Path, most: int = 10) -> Path:
    path = tmp_path / "diff.html"
    path.write_text(page(found, most), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "dark"), [(360, False), (390, True), (1200, False)])
def test_everything_is_on_the_page_and_fits(width: int, dark: bool, found: Diff, tmp_path: Path, chromium: Chromium) -> None:
    opened = chromium.open(saved(found, tmp_path), width=width, dark=dark)
    assert chromium.fits(opened)
    assert opened.locator("section").evaluate_all("found => found.map(one => one.id)") == ["graph", "weights", "scales", "answers", "size", "latency"]
    assert opened.locator("#answers img").evaluate_all("found => found.map(one => one.naturalWidth > 0 && one.alt)") == ["1.png", "2.png", "3.png"]
    text = opened.locator("#answers").inner_text().replace("\u00a0", " ")
    assert "1 of 4 images" in text
    assert "A: dog" in text
    assert HOSTILE in text
    bars = opened.locator("#weights .bar").count()
    assert bars == 4


def test_the_latencies_and_the_sentence_that_says_whose_is_lower(found: Diff, tmp_path: Path, chromium: Chromium) -> None:
    text = chromium.open(saved(found, tmp_path)).locator("#latency").inner_text().replace("\u00a0", " ")
    assert "B's is higher" in text
    assert "+100.0 %" in text


def test_the_same_file_is_a_sentence_on_a_page(found: Diff, tmp_path: Path, chromium: Chromium) -> None:
    opened = chromium.open(saved(replace(found, identical=True), tmp_path))
    assert "the same, byte for byte" in opened.locator("header").inner_text()
    assert opened.locator("section").count() == 0


def test_equal_comparisons_give_equal_pages(found: Diff) -> None:
    assert page(found, 10) == page(found, 10)
