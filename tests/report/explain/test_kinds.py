"""Pages of other networks and other images: of any kind of layer, of more numbers than fit, ready inputs, each step of preprocessing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.build.pixels import pixel_spec, take_pixels
from edgecnn.build.quantize import dynamic, fp16
from edgecnn.report import explain as package
from edgecnn.report.explain import explain
from edgecnn.report.explain.numbers import cube
from edgecnn.report.explain.subject import Picture
from tests.fixtures.chromium import Chromium
from tests.fixtures.onnx_nets import Net
from tests.report.explain.conftest import FORMS, Artifacts, Make, Open, noise, picture_of, sample
from tests.report.explain.reading import check_numbers, place_of, point, products, shown, total, trace, written


def graph(kind: str) -> tuple[ModelSpec, bytes]:
    """(what it is, the graph) of a net that has something of its own."""
    make = Net(batch=3 if kind == "batch of 3" else 1)
    x = make.conv("input", (3, 6))
    if kind == "strange":  # operators without a picture or a formula, other axes, a broken branch of numbers
        x = make.node("Add", x, make.node("Elu", x))
        x = make.node("Transpose", make.node("Reshape", x, make.constant([1, 6, 256], np.int64)), perm=[0, 2, 1])
        five = make.node("Reshape", x, make.constant([1, 4, 8, 8, 6], np.int64))
        x = make.node("Reshape", five, make.constant([1, 1536], np.int64))
        make.linear(x, 1536, 5, output="logits")
        return spec(), make.bytes()
    if kind == "gated":  # squeeze and excite, batch norm, clip, average pooling, a bias that is added, a softmax at the end
        gate = make.node("Sigmoid", make.conv(make.node("GlobalAveragePool", x), (6, 6), kernel=1))
        ones = [make.constant(make.rng.uniform(0.5, 1, 6)) for _ in range(4)]
        x = make.node("BatchNormalization", make.node("Mul", x, gate), *ones)
        x = make.node("Clip", x, make.constant(0), make.constant(6))
        x = make.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
        y = make.node("MatMul", make.node("Flatten", x), make.constant(make.rng.normal(0, 0.1, (384, 5))))
        make.node("Softmax", make.node("Add", y, make.constant(make.rng.normal(0, 1, 5))), output="logits")
        return spec(), make.bytes()
    x = make.node("Relu", make.conv(x, (6, 6), groups=6 if kind == "depthwise" else 1))
    make.linear(make.pooled(x), 6, 5, output="logits")
    model = make.bytes()
    if kind == "uint8":
        outside = spec(image_mean=(0.4, 0.5, 0.6), image_std=(0.2, 0.3, 0.4))
        return pixel_spec(outside), take_pixels(model, outside)
    if kind == "bgr":
        return spec(channels="BGR", image_mean=(0.4, 0.5, 0.6), resize_mode="letterbox"), model
    quantizer = {"dynamic": dynamic, "float16": fp16}.get(kind)
    return spec(batch=3 if kind == "batch of 3" else 1), quantizer.quantize(model).model if quantizer is not None else model


def spec(batch: int = 1, **preprocess: Any) -> ModelSpec:
    return make_spec(name="net", labels=tuple(f"label {n}" for n in range(5)), preprocess=Preprocess(size=(16, 16), **preprocess), batch=batch)


@pytest.mark.parametrize("kind", ["strange", "gated", "depthwise", "uint8", "bgr", "dynamic", "float16", "batch of 3"])
def test_a_network_of_another_kind_is_explained_as_well(kind: str, made: Make, tmp_path: Path, chromium: Chromium) -> None:
    subject = made(*graph(kind))
    picture = picture_of(subject, noise(20, 24, seed=3))
    values = trace(subject, picture)
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    checked = check_numbers(page, subject, values)
    assert checked["conv"] >= (1 if kind == "strange" else 2)
    assert page.locator("details.layer").count() == len(subject.stages)
    assert page.locator("details.layer .bad").count() == 0
    # wherever a reader clicks, there is a number, and the console stays silent
    for maps in page.locator(".maps[data-stage]").all():
        key = maps.get_attribute("data-stage") or ""
        stage = subject.stages[int(key.partition(":")[2])]
        page.mouse.click(*point(page, key, 0, 0, 0))
        wanted = cube(values[stage.shown])
        assert wanted is not None
        assert shown(page) == pytest.approx(float(wanted[0, 0, 0]), abs=1e-5 * max(1e-3, float(np.abs(wanted).max())))
        for made_again in page.locator("#panel [data-sum], #panel [data-rounded]").all()[-1:]:
            last = float(made_again.get_attribute("data-rounded") or made_again.get_attribute("data-sum") or "nan")
            assert last == pytest.approx(shown(page), abs=1e-5 * max(1e-3, float(np.abs(wanted).max())))
    text = page.locator("main").inner_text()
    if kind == "strange":
        assert "1 operators without a formula here" in page.locator("header").inner_text()
        assert "There is no picture of numbers with so many axes" in text
    if kind == "bgr":
        assert "blue, green, red" in text
        assert page.locator('.maps[data-stage="1a:0"] figcaption').all_inner_texts() == ["blue", "green", "red"]
    if kind == "uint8":
        assert "the network's own first layers normalize them" in text


def test_a_ready_input_is_taken_as_it_is(made: Make, tmp_path: Path, chromium: Chromium) -> None:
    subject = made(*graph("plain"))
    x = np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)
    page = chromium.open(written(tmp_path / "page.html", subject, Picture(name="inputs.npy[0]", ready=x)))
    assert page.locator(".step").count() == 1
    assert "Given ready" in page.locator(".step").inner_text()
    page.mouse.click(*point(page, "1a:0", 2, 4, 5))
    assert shown(page) == x[0, 2, 4, 5]


def test_each_step_of_preprocessing_is_a_picture(tmp_path: Path, made: Make, chromium: Chromium) -> None:
    model = graph("plain")[1]
    subject = made(
        make_spec(name="net", labels=spec().labels, preprocess=Preprocess(size=(20, 20), crop_size=(16, 16), resize_mode="shortest-edge")), model
    )
    page = chromium.open(written(tmp_path / "page.html", subject, picture_of(subject, noise(40, 80))))
    said = " ".join(page.locator(".steps").inner_text().replace("\u00a0", " ").split())
    steps = re.split(r"(?=\b\d\. )", said)[1:]
    assert [step.split()[1] for step in steps] == ["Decode", "Channels", "Resize", "Crop", "Normalize"]
    assert "80 × 40 pixels" in steps[0]
    assert "already" in steps[1]
    assert "To 40 × 20, its shape kept" in steps[2]
    assert "The middle, 16 × 16" in steps[3]
    sizes = page.locator(".step img").evaluate_all("all => all.map(one => [one.naturalWidth, one.naturalHeight])")
    assert sizes == [[80, 40], [40, 20], [16, 16], [16, 16]]


def test_what_does_not_fit_is_there_for_some_pixels(
    artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "BUDGET", 40_000)
    monkeypatch.setattr(package, "POINTS", 3_000)
    for form in FORMS:
        subject = opened(artifacts("resnet8-cifar10", form))
        picture = picture_of(subject, sample("resnet8-cifar10"))
        values = trace(subject, picture)
        page = chromium.open(written(tmp_path / f"{form}.html", subject, picture))
        assert "those of the ringed pixels" in page.locator(".read").inner_text()
        ringed = page.locator(".maps:has(.ring)")
        assert ringed.count() >= 3
        for maps in ringed.all():
            ring = maps.locator(".ring").first
            ring.scroll_into_view_if_needed()
            area = ring.bounding_box()
            assert area is not None
            page.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
            stage = subject.stages[int((maps.get_attribute("data-stage") or "").partition(":")[2])]
            place = tuple(map(int, re.findall(r"\d+", page.locator("#panel .where").inner_text())))
            assert shown(page) == float(values[stage.shown][(0, *place)])
            assert values[stage.raw][0, place[0]].max() == values[stage.raw][(0, *place)]
            assert sum(products(page)) + total(page, "bias") == pytest.approx(float(values[stage.raw][(0, *place)]), rel=1e-5)
        page.mouse.click(*point(page, ringed.first.get_attribute("data-stage") or "", 0, 0, 0))
        assert "too many for a page" in page.locator("#panel").inner_text()


def test_a_result_without_room_is_computed_from_what_came_before(
    artifacts: Artifacts, opened: Open, tmp_path: Path, chromium: Chromium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "BUDGET", 6_000)  # the image and the first kernels, not their result of 65,536 bytes
    subject = opened(artifacts("resnet8-cifar10", "float32"))
    picture = picture_of(subject, sample("resnet8-cifar10"))
    values = trace(subject, picture)
    page = chromium.open(written(tmp_path / "page.html", subject, picture))
    for index in (place_of(subject, "conv"), place_of(subject, "relu")):
        page.mouse.click(*point(page, f"1a:{index}", 5, 20, 21))
        assert shown(page) == pytest.approx(float(values[subject.stages[index].shown][0, 5, 20, 21]), abs=1e-5)
    assert page.locator(f'.maps[data-stage="1a:{place_of(subject, "conv", 1)}"] .ring').count() >= 1
    assert sum(len(tensor.get("data", "")) for tensor in page.evaluate("Object.values(numbers.data.tensors)")) < 10_000


def test_equal_images_and_artifacts_make_equal_pages(made: Make) -> None:
    subject = made(*graph("plain"))
    assert explain(subject, [picture_of(subject, noise())]) == explain(subject, [picture_of(subject, noise())])
