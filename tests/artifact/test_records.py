"""Verdicts: what passes, and that nothing passes for lack of evidence."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from edgecnn.artifact.codec import canonical_json, decode, strict_json
from edgecnn.artifact.records import Layer, ParityLimits, ParityReport, Stage
from tests.artifact.samples import parity


def test_answers_within_their_limits_pass() -> None:
    found = parity(b"")
    assert found.passed
    assert found.failures == ()
    assert found.agreement == 1.0


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "no samples": ({"samples": 0, "agreeing": 0}, "nothing was compared"),
    "no elements": ({"elements": 0}, "nothing was compared"),
    "a NaN": ({"nonfinite": 2}, "2 values are NaN or infinite"),
    "too far off": ({"excess": 1e-9, "max_abs": 0.25}, r"largest difference is 0\.25, allowed are atol 1e-05"),
    "a limit that was not computed": ({"excess": None}, "largest difference"),
    "another decision": ({"agreeing": 3}, r"3 of 4 decisions agree \(75\.00%\), wanted 100\.00%"),
}


@pytest.mark.parametrize(("changes", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_what_falls_short_says_why(changes: dict[str, Any], message: str) -> None:
    found = parity(b"", **changes)
    assert not found.passed
    assert any(re.search(message, failure) for failure in found.failures)


def test_only_what_is_asked_for_is_judged() -> None:
    by_decisions = parity(b"", limits=ParityLimits(min_agreement=0.75), agreeing=3, excess=None, max_abs=5.0)
    assert by_decisions.passed
    by_numbers = parity(b"", limits=ParityLimits(atol=1e-4), agreeing=0)
    assert by_numbers.passed


def test_agreement_of_nothing_is_none() -> None:
    assert parity(b"", samples=0, agreeing=0).agreement == 0.0


LIMITS: list[dict[str, float]] = [{}, {"atol": -1}, {"rtol": math.nan}, {"atol": math.inf}, {"min_agreement": 1.01}, {"min_agreement": -0.1}]


@pytest.mark.parametrize("values", LIMITS)
def test_limits_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|prove nothing"):
        ParityLimits(**values)


def test_a_stage_and_a_layer_travel_whole() -> None:
    stage = Stage(
        name="quantize",
        configuration={"per_channel": True, "images": 300, "ratio": 0.5, "scheme": "U8S8", "none": None},
        tools={"onnxruntime": "1.31.1"},
        nodes=3,
        bytes=10,
        sha256="0" * 64,
        against_previous=parity(b"a"),
        against_source=parity(b"b", sqnr_db=31.5),
        note="a choice",
    )
    layer = Layer(name="conv", operator="Conv", output_shape=("batch", 3, 8), parameters=3, macs=7, bytes=12)
    for value in (stage, layer, Layer(name="x", operator="y"), parity(b"c")):
        assert decode(type(value), strict_json(canonical_json(value))) == value


def test_a_report_speaks_of_one_graph() -> None:
    assert parity(b"a") != parity(b"b")
    assert isinstance(parity(b"a"), ParityReport)
