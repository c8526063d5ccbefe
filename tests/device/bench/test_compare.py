"""Which of two is faster: round by round, said only where it is sure, and with the reason where int8 doesn't help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecnn.device.bench.compare import Comparison, compare, reasons, sentences, signed_activations
from edgecnn.errors import UsageError
from tests.device.bench.test_report import report

MS = 1_000_000
VNNI, OLD = ("avx2", "avx512_vnni"), ("avx2",)


def pair(a_ms: list[float], b_ms: list[float], **b: Any) -> Comparison:
    """A burst of ten runs for each number."""
    sides = [report([round(ms * MS) for ms in side for _ in range(10)], bursts=(10,) * len(side)) for side in (a_ms, b_ms)]
    from dataclasses import replace

    return compare(replace(sides[0], quantization="none"), replace(sides[1], **{"quantization": "int8", **b}))


def said(found: Comparison, *, isa: tuple[str, ...] = VNNI, x86: bool = True) -> str:
    return ". ".join(sentences(found, ("f.edgecnn", "i.edgecnn"), isa=isa, x86=x86))


def test_what_slows_a_round_slows_both() -> None:
    slow = [1.0, 7.0, 2.0, 9.0, 1.5, 30.0, 4.0, 1.0]
    found = pair(slow, [ms / 2 for ms in slow])
    assert (found.ratio, found.low, found.high, found.rounds) == (0.5, 0.5, 0.5, 8)
    assert found.faster is found.b
    assert "i.edgecnn takes 0.500 of the time of f.edgecnn (95 % interval 0.500 to 0.500, 8 rounds in turns)" in said(found)
    assert said(found).endswith("int8 is worth it here: 2.00 times as fast")


def test_a_slower_int8_is_not_worth_it_and_the_reason_is_the_cpu_s() -> None:
    found = pair([1.0] * 8, [1.2] * 8)
    assert found.faster is found.a
    assert "int8 isn't worth it here, keep float32: this CPU has no VNNI" in said(found, isa=OLD)
    assert "no dot product (asimddp)" in said(found, isa=("asimd",), x86=False)
    assert said(found, isa=("asimd", "asimddp"), x86=False).endswith("keep float32")
    assert said(found).endswith("keep float32")


def test_signed_activations_are_a_reason_on_x86_alone(tmp_path: Path) -> None:
    found = pair([1.0] * 8, [1.2] * 8)
    x86, arm = (sentences(found, ("f", "i"), isa=isa, x86=x86, signed=True)[1] for isa, x86 in ((VNNI, True), (("asimddp",), False)))
    assert "its activations are signed (activation_type=int8)" in x86
    assert "signed" not in arm
    shipped = next((Path(__file__).parents[3] / "models" / "resnet8-cifar10").glob("*.edgecnn"))
    assert not signed_activations(shipped)
    assert not signed_activations(tmp_path / "gone.edgecnn")
    assert not signed_activations(tmp_path / "gone.onnx")


def test_a_net_that_is_too_small_is_told() -> None:
    found = pair([0.02] * 8, [0.021] * 8)
    assert "the net is too small, an inference takes 21 us" in said(found)


def test_no_difference_is_none() -> None:
    found = pair([1.0] * 8, [0.9, 1.1] * 4)
    assert found.faster is None
    assert "whether int8 is worth it here can't be told" in said(found)


def test_too_few_rounds_say_nothing_for_sure() -> None:
    found = pair([1.0] * 3, [0.5] * 3)
    assert found.faster is None
    assert "too few for an interval" in said(found)


def test_two_of_a_kind_are_only_ranked() -> None:
    assert said(pair([1.0] * 8, [0.5] * 8, quantization="none")).endswith("i.edgecnn is faster here, and nothing else was asked")


def test_int8_may_stand_first() -> None:
    found = compare(report([MS] * 80, bursts=(10,) * 8, quantization="int8"), report([2 * MS] * 80, bursts=(10,) * 8))
    assert said(found).endswith("int8 is worth it here: 2.00 times as fast")


def test_batches_are_compared_image_by_image() -> None:
    found = compare(report([MS] * 80, bursts=(10,) * 8), report([4 * MS] * 80, bursts=(10,) * 8, batch=8))
    assert found.ratio == 0.5


def test_dynamic_has_a_reason_of_its_own() -> None:
    assert reasons(report(quantization="dynamic"), isa=VNNI, x86=True)[0].startswith("dynamic measures ranges")


def test_without_rounds_nothing_can_be_compared() -> None:
    with pytest.raises(UsageError, match="no rounds"):
        compare(report([]), report([]))
