"""What the pages' tests share: a page is written, a place of it pointed at, and the panel read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgecnn.report.explain import explain
from edgecnn.report.explain.numbers import cube
from edgecnn.report.explain.subject import Picture, Subject

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def written(path: Path, subject: Subject, *pictures: Picture, **more: Any) -> Path:
    path.write_text(explain(subject, pictures, **more), encoding="utf-8")
    return path


def trace(subject: Subject, picture: Picture) -> dict[str, np.ndarray]:
    return subject.network.trace(picture.input(subject.spec))


def place_of(subject: Subject, role: str, nth: int = 0) -> int:
    return [index for index, stage in enumerate(subject.stages) if stage.role == role][nth]


def cells(page: Page, stage: str, channel: int = 0) -> Locator:
    return page.locator(f'.maps[data-stage="{stage}"] .map[data-channel="{channel}"] .cells')


def point(page: Page, stage: str, channel: int, row: int, column: int) -> tuple[float, float]:
    """Where a pixel of a map is on the screen."""
    box = cells(page, stage, channel)
    box.scroll_into_view_if_needed()
    area = box.bounding_box()
    assert area is not None
    maps = page.locator(f'.maps[data-stage="{stage}"]')
    height, width = (int(maps.get_attribute(f"data-{side}") or 0) for side in ("height", "width"))
    return area["x"] + (column + 0.5) / width * area["width"], area["y"] + (row + 0.5) / height * area["height"]


def shown(page: Page) -> float:
    """The value that the panel is about."""
    return float(page.locator("#panel .value").get_attribute("data-value") or "nan")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def products(page: Page) -> list[float]:
    """All products in the panel, those of the folded part too."""
    page.evaluate("document.querySelectorAll('#panel details').forEach(one => one.open = true)")
    page.wait_for_function("[...document.querySelectorAll('#panel details')].every(one => one.childElementCount > 1)")
    found: list[float] = page.locator("#panel .kernel.p [data-v], #panel td[data-v]").evaluate_all("all => all.map(one => Number(one.dataset.v))")
    return found


def total(page: Page, what: str = "sum") -> float:
    return float(page.locator(f"#panel [data-{what}]").first.get_attribute(f"data-{what}") or "nan")


EVALUATED = ("conv", "linear", "relu", "clip", "maxpool", "add", "mul", "flatten", "rounding", "dequantize")


def check_numbers(page: Page, subject: Subject, values: dict[str, np.ndarray], run: str = "1a") -> dict[str, int]:
    """Places of every stage, read and computed again by the page's script, against onnxruntime's; how many stages of each kind there were."""
    draw = np.random.default_rng(0)
    checked: dict[str, int] = {}
    for index, stage in enumerate(subject.stages):
        kind = page.evaluate("([run, index]) => numbers.data.stages[run][index].kind", [run, index])
        if kind == "none":
            continue
        raw, after = cube(values[stage.raw]), cube(values[stage.shown])
        assert raw is not None
        assert after is not None
        places = [tuple(int(draw.integers(size)) for size in after.shape) for _ in range(30)]
        script = """([run, index, places, evaluated]) => { const stage = numbers.data.stages[run][index];
            return places.map(place => [numbers.at(stage.y, run, ...place),
                evaluated.includes(stage.kind) ? numbers.evaluate(run, stage, ...place) : null]) }"""
        for place, (read, computed) in zip(places, page.evaluate(script, [run, index, places, EVALUATED]), strict=True):
            scale = max(1e-3, float(np.abs(raw).max()))
            if kind in ("conv", "linear"):
                assert computed == pytest.approx(float(raw[place]), abs=1e-5 * scale)
                assert read == pytest.approx(float(after[place]), abs=1e-5 * scale)
            else:
                assert read == float(after[place]), f"{kind} {stage.name}"
                assert computed in (None, float(raw[place]), float(after[place]))
        checked[kind] = checked.get(kind, 0) + 1
    return checked
