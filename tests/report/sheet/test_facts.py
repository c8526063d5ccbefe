"""The JSON says what the page says, in numbers, without NaN."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from edgecnn.artifact.codec import strict_json
from edgecnn.report.sheet import write
from tests.report.sheet.conftest import MakeSheet


def loaded(text: str) -> dict[str, Any]:
    found = strict_json(text.encode())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_it_has_the_same_keys_whatever_is_known(full: bool, several: bool, make_sheet: MakeSheet) -> None:
    found = loaded(write(make_sheet(full=full, several=several), "json"))
    assert found["schema"] == 1
    assert found["kind"] == "report"
    optional = {"accuracy", "mistakes", "calibration", "latency", "training", "float32"}
    assert {key for key, value in found.items() if value is None} == (set() if full else optional)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_figures_are_those_that_were_measured(make_sheet: MakeSheet) -> None:
    sheet = make_sheet()
    found = loaded(write(sheet, "json"))
    assert (found["accuracy"]["packed"]["correct"], found["accuracy"]["packed"]["count"]) == (8, 9)
    assert found["accuracy"]["packed"]["top1"] == pytest.approx(8 / 9)
    assert found["accuracy"]["packed"]["confusion"][1] == [0, 2, 1]
    assert found["accuracy"]["difference"]["points"] == 0
    mistake = found["mistakes"][0]
    assert (mistake["label"], mistake["decided"], mistake["count"], mistake["of"]) == ("green", "blue", 1, 3)
    assert [(one["position"], one["name"]) for one in mistake["examples"]] == [(4, "4<b>.png")]
    assert "picture" not in mistake["examples"][0]
    score = math.exp(5) / (math.exp(5) + 2 * math.exp(-5))
    assert found["calibration"]["confidence"] == pytest.approx(score)
    assert found["calibration"]["ece"] == pytest.approx(score - 8 / 9)
    assert sum(bin["count"] for bin in found["calibration"]["bins"]) == 9
    assert found["latency"]["ms"]["p50"] == pytest.approx(1.04)
    assert "samples_ns" not in found["latency"]
    assert found["memory"]["peak_bytes"] == 3 * 8 * 8 * 4 + 3 * 4
    assert [layer["macs"] for layer in found["layers"]] == [0, 0, 9]
    assert found["training"][4] == {
        "epoch": 5,
        "loss": 0.4,
        "accuracy": 0.9,
        "learning_rate": 0.1,
        "validation_loss": pytest.approx(0.44),
        "validation_accuracy": 0.4,
    }
    assert found["stages"][0]["against_source"]["passed"] is True
    assert found["artifact"]["graph_sha256"] == sheet.artifact.graph_sha256
    assert found["licenses"] == {"model": "Apache-2.0", "data": "CC0-1.0"}


def test_each_label_of_several_is_calibrated_by_itself(make_sheet: MakeSheet) -> None:
    found = loaded(write(make_sheet(several=True), "json"))["calibration"]
    assert [one["label"] for one in found["labels"]] == ["red", "green", "blue"]
    assert found["mean_ece"] == pytest.approx(sum(one["ece"] for one in found["labels"]) / 3)
    assert found["labels"][1]["accuracy"] == pytest.approx(3 / 9)


def test_equal_sheets_give_equal_bytes_of_ascii(make_sheet: MakeSheet) -> None:
    first, second = (write(make_sheet(), "json") for _ in range(2))
    assert first == second
    assert first.isascii()
    assert first.endswith("}\n")
