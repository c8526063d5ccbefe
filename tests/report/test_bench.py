"""The page of a benchmark: all it measured stands there, marked where it can't be trusted, on a phone, in light and in dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.device.bench.conditions import Conditions
from edgecnn.device.bench.peak import Peak
from edgecnn.device.bench.profile import LayerCost, Profile
from edgecnn.device.bench.report import BenchReport
from edgecnn.device.bench.startup import Startup
from edgecnn.device.host import HostFacts
from edgecnn.report.bench import page
from tests.fixtures.bench_reports import bench_report
from tests.fixtures.chromium import Chromium
from tests.report.test_page import HOSTILE

MS = 1_000_000
HOST = HostFacts(
    system="Linux",
    machine="x86_64",
    processor="a <b>chip</b>",
    isa=("avx2",),
    cores=2,
    cores_online=4,
    memory_bytes=None,
    temperature_c=None,
    python="3",
)
PEAK = Peak(threads=1, float32_gmacs=120.0, int8_gmacs=420.0, gb_per_s=40.0)


def layer(name: str, ms: float, macs: int | None, kind: Any = "int8") -> LayerCost:
    return LayerCost(name=name, operator="Conv", ms=ms, macs=macs, bytes=30_000, kind=kind, provider="CPUExecutionProvider")


def profile(layers: int = 24) -> Profile:
    found = [layer(f"blocks.{n}/Conv", 0.4 / (n + 1), 3_000_000, "int8" if n % 3 else "float32") for n in range(layers)]
    return Profile(layers=(*found, layer("Reshape", 0.002, 0)), others={"Transpose": 0.01}, run_ms=2.0, runs=100, peak=PEAK)


def report(name: str = "a.edgecnn", **changes: Any) -> BenchReport:
    made = bench_report(
        [MS + 1000 * (i % 97) for i in range(2000)],
        name=name,
        process_peak_mib=70.5,
        cpu_ns=1900 * MS,
        conditions=Conditions(seconds=10, cpus=2, others=0.02),
        startup=Startup(
            python_ms=30, import_ms=200, load_ms=8, first_ms=1, total_ms=239, loaded_mib=66.0, peak_mib=67.0, decode_ms=0.1, preprocess_ms=0.2
        ),
    )
    return replace(made, **changes)


def written(tmp_path: Path, *reports: BenchReport, said: tuple[tuple[str, ...], ...] = (), names: tuple[str, ...] = ()) -> Path:
    path = tmp_path / "bench.html"
    path.write_text(page(reports, HOST, names=names or tuple(one.name for one in reports), said=said), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
def test_all_that_was_measured_is_drawn_and_fits(tmp_path: Path, chromium: Chromium, width: int, dark: bool) -> None:
    path = written(tmp_path, report(profile=profile()), report("b.edgecnn"), said=(("b is faster",),))
    shown = chromium.open(path, width=width, dark=dark)
    assert chromium.fits(shown)
    assert "b is faster." in shown.locator("#figures").inner_text()
    assert "other load 2.0%" in shown.locator(".lead").inner_text()
    assert shown.locator("#file-1 .plot").count() == 3  # histogram, course, roofline
    assert shown.locator("#file-2 .plot").count() == 2
    assert shown.locator("#file-1 .bar").count() == 16 + 3  # layers, the rest of them, other, between
    shown.locator("#file-1 summary").click()
    rows = shown.locator("#file-1 tbody tr")
    assert rows.count() == 25
    assert rows.first.inner_text().split() == ["1", "blocks.0/Conv", "Conv", "0.4000", "3", "M", "7.5", "6", "%", "100.0"]
    roofs = shown.locator("#file-1 figure", has_text="multiply-accumulates for each byte")
    assert roofs.locator("path.line").count() == 2
    assert roofs.locator("path.dot").count() == 24
    for text in roofs.locator(".tick").all():
        size = text.evaluate("node => parseFloat(getComputedStyle(node).fontSize)")
        assert size >= 12  # legible on a phone


def test_every_layer_lies_under_or_near_its_roof(tmp_path: Path, chromium: Chromium) -> None:
    """A dot at half of the peak is drawn lower than the roof, and one at the peak on it."""
    full = layer("full", 1.0, 420_000_000)
    half = layer("half", 2.0, 420_000_000)
    path = written(tmp_path, report(profile=Profile(layers=(full, half), others={}, run_ms=3.0, runs=9, peak=PEAK)))
    shown = chromium.open(path)
    places = shown.locator("#file-1 path.dot").evaluate_all("nodes => nodes.map(node => node.getBoundingClientRect().y)")
    roof = shown.locator("#file-1 figure", has_text="each byte").locator("path.line.s3").evaluate("node => node.getBoundingClientRect().y")
    assert abs(places[0] - roof) < 8
    assert places[1] > places[0] + 8


def test_what_can_not_be_trusted_says_so(tmp_path: Path, chromium: Chromium) -> None:
    bad = report(conditions=Conditions(seconds=10, cpus=2, others=0.5))
    stopped = report("b.edgecnn", interrupted=True)
    shown = chromium.open(written(tmp_path, bad, stopped))
    assert shown.locator(".chip.bad").all_inner_texts() == ["a.edgecnn: INVALID", "b.edgecnn: interrupted, partial figures"]
    assert "Not to be trusted: a.edgecnn, others had 50% of the CPUs' time" in shown.locator("#figures").inner_text()


def test_a_file_that_was_never_run_has_no_plot(tmp_path: Path, chromium: Chromium) -> None:
    shown = chromium.open(written(tmp_path, report(), report("b.edgecnn", samples_ns=(), interrupted=True, startup=None)))
    assert shown.locator("section.card").count() == 2


def test_names_that_try_to_be_markup_are_shown(tmp_path: Path, chromium: Chromium) -> None:
    evil = Profile(layers=(layer(HOSTILE, 1.0, 1000),), others={HOSTILE: 1.0}, run_ms=3.0, runs=9, peak=PEAK)
    shown = chromium.open(written(tmp_path, report(profile=evil), names=(HOSTILE,), said=((HOSTILE,),)))
    assert HOSTILE in shown.locator("#figures").inner_text()
    assert shown.title() != "taken"
    assert shown.locator("img").count() == 0


def test_equal_reports_make_equal_pages() -> None:
    made = [page([report(profile=profile())], HOST, names=["a"]) for _ in range(2)]
    assert made[0] == made[1]
