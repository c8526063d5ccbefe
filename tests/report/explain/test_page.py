"""Pages in a real browser: the numbers behind a pixel are onnxruntime's, add up, and are there for mouse, finger and keyboard."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.device.differences import sqnr_db
from edgecnn.report.explain.subject import Picture
from tests.fixtures.chromium import Chromium
from tests.fixtures.onnx_nets import Net
from tests.report.explain.conftest import FORMS, SHIPPED, Artifacts, Make, Open, noise, picture_of, sample
from tests.report.explain.reading import cells, check_numbers, number, place_of, point, products, shown, total, trace, written
from tests.report.test_page import HOSTILE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_s_page_has_all_its_numbers(
    name: str, form: str, artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium
) -> None:
    subject = opened(artifacts(name, form))
    picture = picture_of(subject, sample(name))
    path = written(tmp_path / "page.html", subject, picture)
    assert path.stat().st_size < 2_500_000
    page = chromium.open(path)
    checked = check_numbers(page, subject, trace(subject, picture))
    assert sum(checked.values()) == len(subject.stages)
    assert {"input", "conv", "linear", "flatten"} <= set(checked)
    assert page.locator("details.layer").count() == len(subject.stages)
    assert page.locator(".chip.good").inner_text() == f"all {len(subject.network.nodes)} formulas, computed again in numpy, agree with onnxruntime"
    assert page.locator("details.layer .bad").count() == 0


# Mouse, finger, keyboard


@pytest.mark.parametrize("form", FORMS)
def test_pointing_at_a_pixel_shows_products_that_sum_to_it(form: str, artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("resnet8-cifar10", form))
    picture = picture_of(subject, sample("resnet8-cifar10"))
    values = trace(subject, picture)
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    for nth, place in ((0, (5, 16, 15)), (2, (4, 0, 31)), (3, (9, 15, 15))):  # the second at a corner, where padding counts; the third strided
        index = place_of(subject, "conv", nth)
        stage = subject.stages[index]
        page.mouse.move(*point(page, f"1a:{index}", *place))
        assert page.locator("#panel .where").inner_text() == f"map {place[0]}, row {place[1]}, column {place[2]}"
        raw, after = values[stage.raw][(0, *place)], values[stage.shown][(0, *place)]
        found = products(page)
        assert stage.weight is not None
        assert len(found) == np.prod(values[stage.weight].shape[1:])
        assert sum(found) + total(page, "bias") == pytest.approx(raw, abs=2e-5)
        assert total(page) == pytest.approx(raw, abs=2e-5)
        assert number(page.locator("#panel .total b").first.inner_text()) == pytest.approx(raw, abs=6e-5)
        assert shown(page) == pytest.approx(after, abs=2e-5)
        window = page.locator("#panel .kernel.x").first.locator("[data-v]").evaluate_all("all => all.map(one => Number(one.dataset.v))")
        kernel = page.locator("#panel .kernel.w").first.locator("[data-v]").evaluate_all("all => all.map(one => Number(one.dataset.v))")
        first = page.locator("#panel .kernel.p").first.locator("[data-v]").evaluate_all("all => all.map(one => Number(one.dataset.v))")
        np.testing.assert_allclose(np.multiply(window, kernel), first)
    assert page.locator("#panel .kernel.x .out").count() == 0
    index = place_of(subject, "conv", 2)
    page.mouse.move(*point(page, f"1a:{index}", 4, 0, 31))
    products(page)
    assert page.locator("#panel .kernel.x .out").count() == 16 * 5


def test_a_pooled_pixel_shows_its_four_values(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("simplecnn-fashion", "float32"))
    picture = picture_of(subject, sample("simplecnn-fashion"))
    index = place_of(subject, "maxpool")
    before = trace(subject, picture)[subject.stages[index].sources[0]][0]
    channel, row, column = (int(place) for place in np.unravel_index(before.argmax(), before.shape))
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    page.mouse.move(*point(page, f"1a:{index}", channel, row // 2, column // 2))
    four = page.locator("#panel .kernel.x [data-v]").evaluate_all("all => all.map(one => Number(one.dataset.v))")
    assert four == before[channel, row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2].reshape(-1).tolist()
    assert shown(page) == max(four) == before.max()
    # the window is framed in the map that it comes from, on the page as well
    assert page.locator(f'.maps[data-stage="1a:{index - 1}"] .reach').count() == 1


def test_an_int8_layer_can_be_seen_in_integers(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("resnet8-cifar10", "int8"))
    picture = picture_of(subject, sample("resnet8-cifar10"))
    values = trace(subject, picture)
    index = next(index for index, stage in enumerate(subject.stages) if stage.role == "conv" and stage.rounding is not None)
    stage = subject.stages[index]
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    page.mouse.click(*point(page, f"1a:{index}", 3, 10, 11))
    page.get_by_role("button", name="integers").click()
    found = products(page)
    assert all(value == int(value) for value in found)
    makers = {name: node for node in subject.network.nodes for name in node.outputs}
    assert stage.weight is not None
    assert stage.bias is not None
    x, w, b = (makers[name] for name in (stage.sources[0], stage.weight, stage.bias))
    window = values[x.inputs[0]][0, :, 9:12, 10:13].astype(int) - int(values[x.inputs[2]])
    wanted = (window * values[w.inputs[0]][3].astype(int)).sum() + int(values[b.inputs[0]][3])
    assert sum(found) + total(page, "bias") == wanted == total(page)
    scale = float(values[x.inputs[1]]) * float(values[w.inputs[1]][3])
    assert float(page.locator("#panel [data-sum]").nth(1).get_attribute("data-sum") or "nan") == pytest.approx(wanted * scale)
    assert total(page, "rounded") == shown(page) == float(values[stage.shown][0, 3, 10, 11])
    page.get_by_role("button", name="real numbers").click()
    assert total(page) == pytest.approx(wanted * scale, rel=1e-5)


def test_a_click_holds_and_escape_lets_go(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("simplecnn-fashion", "int8"))
    page = chromium.open(written(tmp_path / "page.html", subject, picture_of(subject, sample("simplecnn-fashion"))))
    index = place_of(subject, "conv")
    page.mouse.click(*point(page, f"1a:{index}", 2, 5, 6))
    page.mouse.move(*point(page, f"1a:{index}", 3, 9, 9))
    where = page.locator("#panel .where")
    assert where.inner_text() == "map 2, row 5, column 6"
    page.get_by_role("button", name="next map").click()
    page.get_by_role("button", name="down").click()
    assert where.inner_text() == "map 3, row 6, column 6"
    page.keyboard.press("Escape")
    assert where.count() == 0
    assert "Point at a pixel" in page.locator("#panel").inner_text()
    page.mouse.move(*point(page, f"1a:{index}", 3, 9, 10))
    assert where.inner_text() == "map 3, row 9, column 10"


def test_the_keyboard_is_enough(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("simplecnn-fashion", "float32"))
    picture = picture_of(subject, sample("simplecnn-fashion"))
    index = place_of(subject, "conv")
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.stage") == f"1a:{index}":
            break
    where = page.locator("#panel .where")
    assert where.inner_text() == "map 0, row 13, column 13"
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft", "PageDown", "PageDown", "PageUp"):
        page.keyboard.press(key)
    assert where.inner_text() == "map 1, row 12, column 11"
    assert shown(page) == float(trace(subject, picture)[subject.stages[index].shown][0, 1, 12, 11])
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    assert where.inner_text() == "map 1, row 12, column 0"
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert where.count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_a_finger_on_a_phone_opens_the_numbers_at_the_bottom(
    dark: bool, artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium
) -> None:
    subject = opened(artifacts("resnet8-cifar10", "int8"))
    picture = picture_of(subject, sample("resnet8-cifar10"))
    page = chromium.open(written(tmp_path / "page.html", subject, picture), width=390, height=844, touch=True, dark=dark)
    assert chromium.fits(page)
    panel = page.locator("#panel")
    assert not panel.is_visible()
    index = place_of(subject, "conv", 1)
    page.touchscreen.tap(*point(page, f"1a:{index}", 5, 7, 8))
    assert panel.is_visible()
    assert page.locator("#panel .where").inner_text() == "map 5, row 7, column 8"
    area, map_area = panel.bounding_box(), cells(page, f"1a:{index}", 5).bounding_box()
    assert area is not None
    assert map_area is not None
    assert area["x"] >= 0
    assert area["x"] + area["width"] <= 390
    assert map_area["y"] + map_area["height"] <= area["y"], "the map that was tapped is hidden"
    assert page.evaluate("(panel => panel.scrollWidth <= panel.clientWidth)(document.getElementById('panel'))")
    # the enlarged map takes a finger more exactly
    large = page.locator("#panel .big").last
    box = large.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] * 20.5 / 32, box["y"] + box["height"] * 3.5 / 32)
    assert page.locator("#panel .where").inner_text() == "map 5, row 3, column 20"
    page.get_by_role("button", name="Close").tap()
    assert not panel.is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 384) == dark


def test_bars_show_how_logits_and_scores_come_about(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("simplecnn-fashion", "float32"))
    picture = picture_of(subject, sample("simplecnn-fashion"))
    (logits,) = subject.session.logits(picture.input(subject.spec))
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    names = page.locator(".decide .name").all_inner_texts()
    assert names == [subject.spec.labels[label] for label in np.argsort(-logits)]
    second = page.locator(".decide .logit").nth(1)
    second.hover()
    assert shown(page) == pytest.approx(np.sort(logits)[-2], abs=1e-5)
    assert sum(products(page)) + total(page, "bias") == pytest.approx(np.sort(logits)[-2], abs=1e-5)
    page.locator(".decide .score").nth(1).hover()
    scores = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    assert shown(page) == pytest.approx(np.sort(scores)[-2], rel=1e-6)
    assert f"The network says {names[0]}" in page.locator(".verdict").inner_text()


# Two models, several images, several labels


def test_float32_and_int8_stand_side_by_side(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    float32, int8 = (opened(artifacts("resnet8-cifar10", form)) for form in FORMS)
    picture = picture_of(float32, sample("resnet8-cifar10"))
    path = written(tmp_path / "page.html", float32, picture, other=int8)
    assert path.stat().st_size < 5_000_000
    page = chromium.open(path)
    ours, theirs = trace(float32, picture), trace(int8, picture)
    check_numbers(page, float32, ours, "1a")
    check_numbers(page, int8, theirs, "1b")
    rows = page.locator("#image-1-differences .name").count()
    assert rows == len(float32.stages) - 1  # the inputs are the same
    index = place_of(float32, "relu", 2)
    twin = next(number for number, stage in enumerate(int8.stages) if stage.role == "rounding" and stage.raw == float32.stages[index].raw)
    a, b = ours[float32.stages[index].shown], theirs[int8.stages[twin].shown]
    layer = page.locator("details.layer", has=page.locator(f'[data-stage="1a:{index}"]'))
    assert layer.locator(f'[data-stage="1b:{twin}"]').count() == 1
    assert layer.locator(".side").all_inner_texts() == ["float32", "int8", "int8 less float32"]
    assert f"{sqnr_db(a, b):.1f} dB" in layer.locator(".shape").inner_text().replace("\u00a0", " ")
    page.mouse.click(*point(page, f"1a:{index}", 3, 8, 9))
    assert (shown(page), total(page, "twin")) == (float(a[0, 3, 8, 9]), float(b[0, 3, 8, 9]))
    page.mouse.click(*point(page, f"1b:{twin}", 3, 8, 9))
    assert (shown(page), total(page, "twin")) == (float(b[0, 3, 8, 9]), float(a[0, 3, 8, 9]))
    assert page.locator(".decide button.logit").count() == 20
    assert page.locator(".answer").all_inner_texts()[0].startswith("float32 says airplane")


def test_several_images_are_shown_one_at_a_time(artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium) -> None:
    subject = opened(artifacts("simplecnn-fashion", "int8"))
    pictures = [picture_of(subject, sample("simplecnn-fashion")), picture_of(subject, noise(28, 28))]
    page = chromium.open(written(tmp_path / "page.html", subject, *pictures), width=390)
    assert page.locator(".image:visible").count() == 1
    assert chromium.fits(page)
    page.locator(".pick a").nth(1).click()
    assert page.locator("#image-2").is_visible()
    assert not page.locator("#image-1").is_visible()
    assert page.locator(".pick a[aria-current]").get_attribute("href") == "#image-2"
    check_numbers(page, subject, trace(subject, pictures[1]), "2a")
    check_numbers(page, subject, trace(subject, pictures[0]), "1a")


def test_several_labels_at_once_have_sigmoids_of_their_own(made: Make, tmp_path: Path, chromium: Chromium) -> None:
    make = Net()
    make.node("Gemm", make.pooled("input"), make.constant(np.eye(3) * 20), make.constant([-10, -10, -10]), transB=1, output="logits")
    labels = ("red", "green", HOSTILE)
    named = make_spec(name="net", labels=labels, preprocess=Preprocess(size=(16, 16)), task="multi-label", thresholds=(0.5, 0.9, 0.5))
    subject = made(named, make.bytes(labels=3))
    pixels = np.zeros((16, 16, 3), np.uint8) + np.array([200, 140, 220], np.uint8)
    picture = Picture(name=HOSTILE, steps=picture_of(subject, pixels).steps, pixels=picture_of(subject, pixels).pixels)
    page = chromium.open(written(tmp_path / "page.html", subject, picture), width=390)
    assert chromium.fits(page)
    assert page.title() == f"What net sees in {HOSTILE}"
    assert "Several labels may hold at once" in page.locator("#image-1-decision").inner_text()
    assert page.locator(".decide .name.holds").all_inner_texts() == [HOSTILE, "red"]
    page.locator(".decide .score").nth(2).click()
    assert page.locator("#panel .where").inner_text() == "green"
    assert shown(page) == pytest.approx(1 / (1 + np.exp(10 - 20 * 140 / 255)), rel=1e-5)
    assert page.locator("#image-1-evidence figure").count() == 2
    assert page.locator("main img[src='x']").count() == 0
