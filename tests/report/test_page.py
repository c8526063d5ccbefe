"""Pages hold all they need, show what they are given and nothing of it as markup, and fit a phone and the dark."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecnn.report import page
from edgecnn.report.page import environment, png_uri, tight
from tests.fixtures.chromium import Chromium

HOSTILE = "<script>document.title='taken'</script>\"'><img src=x onerror=\"document.title='taken'\">"

GALLERY = """{% extends "base.html.j2" %}{% import "charts.html.j2" as charts %}
{% set sections = [("all", "All")] %}
{% block title %}{{ name }}{% endblock %}
{% block head %}<p class="lead">{{ name }}</p><div class="chips"><span class="chip good">{{ name }}</span></div>{% endblock %}
{% block content %}<section class="card" id="all"><h2>Plots</h2><div class="grid">
{{ charts.bars(bars, name) }}
{{ charts.histogram([(0, 1, 3), (1, 2, 0), (2, 3, 1)], name, x_title="ms", y_title="runs", marks=[{"value": 1.5, "text": "p50 1.5"}]) }}
{{ charts.lines(series, name, x_title="epoch", dots=true, fill=true) }}
{{ charts.lines(series, name, log_y=true, stairs=true, marks=[{"value": 2, "text": name}]) }}
{{ charts.dots(dots, ["largest", "mean"], name) }}
{{ charts.reliability(bins, name) }}
</div>
{{ charts.confusion(labels, counts, name) }}
<img class="pixels" src="{{ picture }}" width="64" height="64" alt="{{ name }}">
<div class="scroll"><table><tr>{% for _ in range(40) %}<td>{{ loop.index }}</td>{% endfor %}</tr></table></div>
</section>{% endblock %}
{% block footer %}<p>{{ name }}</p>{% endblock %}
"""


def values(**other: Any) -> dict[str, Any]:
    return {
        "name": "colors",
        "bars": [{"name": "Conv", "value": 3.0, "text": "3 kB"}, {"name": "Gemm", "value": 1.5, "text": "1.5 kB", "series": 2}],
        "series": [{"name": "loss", "points": [(1, 2.0), (2, 1.0), (3, 0.5)]}, {"name": "accuracy", "points": [(1, 0.2), (3, 0.9)]}],
        "bins": [
            {"low": 0.5, "high": 0.6, "count": 0, "confidence": 0.0, "accuracy": 0.0, "interval": (0.0, 1.0)},
            {"low": 0.9, "high": 1.0, "count": 8, "confidence": 0.95, "accuracy": 0.75, "interval": (0.4, 0.93)},
        ],
        "dots": [{"name": "export", "values": [1e-5, 0.0]}, {"name": "quantize", "values": [0.5, None]}],
        "labels": ["red", "green"],
        "counts": [[7, 1], [0, 0]],
        "picture": png_uri(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)),
        **other,
    }


def gallery(path: Path, **other: Any) -> Path:
    path.write_text(environment().from_string(GALLERY).render(values(**other)), encoding="utf-8")
    return path


def test_equal_values_make_equal_pages() -> None:
    made = [environment().from_string(GALLERY).render(values()) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].startswith("<!DOCTYPE html>")


def test_a_name_that_was_not_given_is_an_error() -> None:
    from jinja2 import UndefinedError

    given = values()
    del given["picture"]
    with pytest.raises(UndefinedError, match="picture"):
        environment().from_string(GALLERY).render(given)


def test_a_page_names_nothing_outside_itself() -> None:
    made = environment().from_string(GALLERY).render(values())
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|url\(|@import|https?:", made)
    assert "default-src 'none'" in made


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_every_chart_is_drawn_and_fits(tmp_path: Path, chromium: Chromium, width: int, dark: bool) -> None:
    shown = chromium.open(
        gallery(tmp_path / "gallery.html", labels=[f"label {n}" for n in range(12)], counts=np.eye(12, dtype=int).tolist()), width=width, dark=dark
    )
    assert chromium.fits(shown)
    assert shown.title() == "colors"
    wide = shown.locator(".bars rect").evaluate_all("found => found.map(one => one.getBoundingClientRect().width)")
    assert wide[0] == pytest.approx(2 * wide[1], rel=0.01)
    inside = shown.locator(".plot").evaluate_all(
        """plots => plots.flatMap(plot => { const box = plot.getBoundingClientRect();
        return [...plot.querySelectorAll('rect, .line')].map(one => one.getBoundingClientRect()).filter(
            one => one.left < box.left - 2 || one.right > box.right + 2 || one.top < box.top - 2 || one.bottom > box.bottom + 2) })"""
    )
    assert inside == []
    background, ink = shown.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    light = [sum(map(int, re.findall(r"\d+", color))) > 384 for color in (background, ink)]
    assert light == [not dark, dark]


def test_text_on_a_page_is_never_markup(tmp_path: Path, chromium: Chromium) -> None:
    hostile = values(
        name=HOSTILE,
        bars=[{"name": HOSTILE, "value": 1.0, "text": HOSTILE}],
        dots=[{"name": HOSTILE, "values": [1.0, 2.0]}],
        series=[{"name": HOSTILE, "points": [(0, 1.0), (1, 2.0)]}] * 2,
        labels=[HOSTILE, "b"],
        counts=[[1, 2], [3, 4]],
    )
    shown = chromium.open(gallery(tmp_path / "hostile.html", **hostile), width=360)
    assert shown.title() == HOSTILE
    assert shown.locator("h1").text_content() == HOSTILE
    assert shown.locator("script").count() == 0
    assert shown.locator("img").count() == 1
    assert chromium.fits(shown)


def test_only_a_page_s_own_script_runs(tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where something was not escaped, the policy holds it, and the network."""
    (tmp_path / "ours.js").write_text("document.title = 'ours';")
    monkeypatch.setattr(page, "TEMPLATES", tmp_path)
    made = (
        environment()
        .from_string(
            '{% extends "base.html.j2" %}{% set scripts = ["ours.js"] %}{% block title %}none{% endblock %}'
            "{% block content %}<script>document.title = 'theirs'</script><b onclick=\"document.title = 'theirs'\">b</b>"
            '<img src="http://127.0.0.1:9/x.png" alt="">{% endblock %}'
        )
        .render()
    )
    (tmp_path / "page.html").write_text(made)
    opened = Chromium(browser)
    shown = opened.open(tmp_path / "page.html")
    shown.locator("b").click()
    assert shown.title() == "ours"
    opened.close()
    assert len([problem for problem in opened.problems if "Content Security Policy" in problem]) == 3


def test_the_browser_s_guard_sees_a_request_and_an_error(tmp_path: Path, browser: Any) -> None:
    (tmp_path / "bad.html").write_text("<title>x</title><img src='other.png'><script>nowhere()</script>")
    opened = Chromium(browser)
    opened.open(tmp_path / "bad.html")
    opened.close()
    assert any("asked for file:" in problem and "other.png" in problem for problem in opened.problems)
    assert any("nowhere is not defined" in problem for problem in opened.problems)


def test_a_figure_keeps_its_unit() -> None:
    assert tight("95 % of 3 MiB, 2 ms, 12.5 M, 4 bytes, 1 milk") == "95\u00a0% of 3\u00a0MiB, 2\u00a0ms, 12.5\u00a0M, 4\u00a0bytes, 1 milk"


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3)])
@pytest.mark.parametrize("scale", [1, 4])
def test_a_picture_is_its_pixels(shape: tuple[int, ...], scale: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    head, _, data = png_uri(pixels, scale).partition(",")
    assert head == "data:image/png;base64"
    read = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert read.shape[:2] == (3 * scale, 5 * scale)
    np.testing.assert_array_equal(read[::scale, ::scale].reshape(shape), pixels)
    np.testing.assert_array_equal(read[scale - 1 :: scale, scale - 1 :: scale].reshape(shape), pixels)


@pytest.mark.parametrize(
    ("pixels", "scale"),
    [
        (np.zeros((2, 2), np.float32), 1),
        (np.zeros((2, 2, 4), np.uint8), 1),
        (np.zeros(4, np.uint8), 1),
        (np.zeros((0, 2), np.uint8), 1),
        (np.zeros((2, 2), np.uint8), 0),
    ],
)
def test_what_is_no_picture_is_refused(pixels: Any, scale: int) -> None:
    with pytest.raises(ValueError, match="wanted"):
        png_uri(pixels, scale)
