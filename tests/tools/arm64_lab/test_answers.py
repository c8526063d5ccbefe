"""What tools/arm64 takes for the same answers, and what not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.artifacts import color_artifact
from tools.arm64_lab import answers
from tools.arm64_lab.answers import Answers, Said, compare, faults
from tools.arm64_lab.nets import Net, find

SAMPLES = (Path("a.png"), Path("b.png"))
NET = Net(name="net", precision="int8", artifact=Path("net.edgecnn"), samples=SAMPLES, images=SAMPLES)
HERE = Answers(inputs="same", logits=np.array([[1.0, 2.0], [3.0, 0.5]], dtype=np.float32))


def other(*, inputs: str = "same", change: Any = 0) -> Answers:
    return Answers(inputs=inputs, logits=(HERE.logits + np.asarray(change)).astype(np.float32))


def test_the_same_bits_are_the_same() -> None:
    found = compare(NET, "cortex-a72", HERE, other(), 0.0)
    assert found.faults == ()
    assert (found.images, found.largest, found.agreeing) == (2, 0.0, 2)


@pytest.mark.parametrize(
    ("actual", "limit", "said"),
    [
        (other(change=2**-20), 0.0, "differ from those here by up to 9.54e-07; at most 0 was promised"),
        (other(change=[[0.2, 0.0], [0.0, 0.0]]), 0.1, "differ from those here by up to 0.2"),
        (other(change=[[0.0, np.nan], [0.0, 0.0]]), 0.1, "differ from those here by up to nan"),
        (other(inputs="another"), 0.0, "preprocessing gives other inputs"),
        (other(change=[[1.5, 0.0], [0.0, 0.0]]), 2.0, "decides otherwise than this machine on a.png"),
        (replace(HERE, logits=HERE.logits[:1]), 0.0, "shapes [2, 2] here and [1, 2] on cortex-a72; 2 rows were wanted"),
        (replace(HERE, logits=HERE.logits[:, :0]), 0.0, "2 rows were wanted"),
    ],
)
def test_what_differs_is_told_with_the_net_and_the_core(actual: Answers, limit: float, said: str) -> None:
    (fault,) = compare(NET, "cortex-a72", HERE, actual, limit).faults
    assert fault.startswith("net int8: ")
    assert "cortex-a72" in fault
    assert said in fault


def test_a_net_without_samples_proves_nothing() -> None:
    assert "there is none" in compare(replace(NET, samples=()), "cortex-a72", HERE, other(), 0.0).faults[0]


def lines(*entries: dict[str, Any]) -> Said:
    return Said(code=0, out="".join(json.dumps(entry) + "\n" for entry in entries), err="")


def saw(name: str, label: str, score: float = 0.5) -> dict[str, Any]:
    return {"input": name, "label": label, "score": score}


RUN = lines(saw("a.png", "cat"), saw("b.png", "dog"))
STEP = {"passed": True, "samples": 3}


@pytest.mark.parametrize(
    ("command", "expected", "actual", "said"),
    [
        ("run", RUN, lines(saw("a.png", "cat")), "answered 1 of 2 images, here 2"),
        ("run", lines(), lines(), "answered 0 of 2 images"),
        ("run", RUN, lines(saw("a.png", "cat"), saw("b.png", "cat")), "sees 'cat' in b.png, here 'dog'"),
        ("run", RUN, lines(saw("a.png", "cat"), saw("b.png", "dog", 0.500002)), "gives b.png the score 0.500002, here 0.5"),
        ("run", RUN, lines(saw("a.png", "cat"), {"input": "b.png", "error": "no picture"}), "can't read b.png: no picture"),
        ("run", RUN, Said(code=-11, out="", err="Segmentation fault"), "ended with -11, here with 0, and said: Segmentation fault"),
        ("validate", RUN, lines({"golden": {"passed": False, "steps": [STEP, STEP, {**STEP, "passed": False}]}}), "passed 2 of 3 steps"),
        ("validate", RUN, lines({"golden": {"passed": True, "steps": [STEP, STEP, {**STEP, "samples": 0}]}}), "passed 3 of 3 steps"),
        ("validate", RUN, lines({"golden": {"passed": True, "steps": []}}), "passed 0 of 3 steps"),
        ("inspect", lines({"ops": 3}), lines({"ops": 4}), "tells other facts than here"),
        ("inspect", lines({}), lines({}), "tells other facts than here"),
    ],
)
def test_a_command_that_does_otherwise_is_told_of(command: str, expected: Said, actual: Said, said: str) -> None:
    (fault,) = faults(NET, command, "cortex-a53", expected, actual, 0.0)
    assert fault.startswith(f"net int8: `edgecnn {command}` on cortex-a53 ")
    assert said in fault


def test_a_command_that_does_the_same_is_fine() -> None:
    assert faults(NET, "run", "cortex-a53", RUN, RUN, 0.0) == ()
    good = lines({"golden": {"passed": True, "steps": [STEP] * 3}})
    told = lines({"ops": 3})
    assert faults(NET, "validate", "cortex-a53", good, good, 0.0) == ()
    assert faults(NET, "inspect", "cortex-a53", told, told, 0.0) == ()


def test_the_limit_is_the_manifest_s_and_of_float32_1e_4(tmp_path: Path) -> None:
    artifact = color_artifact(tmp_path / "colors.edgecnn")
    from edgecnn.artifact.bundle import open_bundle

    with open_bundle(artifact) as bundle:
        promised = bundle.manifest.limits.outputs_atol
    assert answers.limit_of(replace(NET, artifact=artifact)) == promised
    assert answers.limit_of(replace(NET, artifact=artifact, precision="float32")) == 1e-4


def test_every_shipped_artifact_is_tried_and_its_float32_twin_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tools.arm64_lab import nets

    monkeypatch.setattr(nets, "_float32", lambda folder, place, say: tmp_path / folder.name)
    found, missing = find(lambda _: None)
    assert missing == ()
    assert {net.artifact for net in found if net.precision != "float32"} == set(nets.MODELS.glob("*/*.edgecnn"))
    assert {net.name for net in found if net.precision == "float32"} == {path.parent.name for path in nets.MODELS.glob("*/*.edgecnn")}
    assert all(net.samples and set(net.samples) <= set(net.images) for net in found)
    assert any(len(net.images) > 100 for net in found)


def test_the_script_that_asks_for_answers_gives_the_model_s_own(tmp_path: Path) -> None:
    from edgecnn import load
    from tests.fixtures.artifacts import encode, solid

    artifact = color_artifact(tmp_path / "colors.edgecnn")
    images = []
    for color in ("red", "blue"):
        images.append(tmp_path / f"{color}.png")
        images[-1].write_bytes(encode(solid(color)))
    net = Net(name="colors", precision="none", artifact=artifact, samples=tuple(images), images=tuple(images))
    found = answers.here(net)
    labels = load(artifact).spec.labels
    assert [labels[place] for place in found.logits.argmax(axis=1)] == ["red", "blue"]
    assert len(found.inputs) == 64
