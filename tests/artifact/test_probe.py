"""A probe's file: what one device says to the host, however it got there."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.codec import encode
from edgecnn.artifact.probe import Probe, Products, read_probe, wheel_fault
from edgecnn.errors import InputMissing, TargetRejected
from tests.fixtures.probes import EXACT, SATURATED, a_probe, probe_file


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    assert read_probe(probe_file(tmp_path / "p.json")) == a_probe()


def test_a_newer_edgecnn_may_tell_more_in_the_same_schema(tmp_path: Path) -> None:
    facts = {**encode(a_probe()), "quantum": {"cores": 3}}
    (tmp_path / "p.json").write_text(json.dumps(facts))
    assert read_probe(tmp_path / "p.json") == a_probe()


@pytest.mark.parametrize(
    ("products", "saturates", "mended"),
    [(EXACT, False, True), (SATURATED, True, True), (Products(wanted=4.0, fast=2.0, precise=2.0), True, False)],
)
def test_verdicts_follow_from_the_sums(products: Products, saturates: bool, mended: bool) -> None:
    assert (products.saturates, products.mended) == (saturates, mended)


def test_a_device_is_named_for_the_best_that_is_known_of_it() -> None:
    assert a_probe().name == "Raspberry Pi 4 Model B Rev 1.4"
    assert a_probe(board=None).name == "Cortex-A72"
    assert a_probe(board=None, processor=None).name == "aarch64"


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.json doesn't exist; `edgecnn probe --json > probe\.json` on the device"):
        read_probe(tmp_path / "gone.json")


def test_a_newer_schema_is_told_apart_from_nonsense(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"schema": 2, "all": "new"}')
    with pytest.raises(TargetRejected, match=r"is a probe of schema 2, this edgecnn .* reads 1; upgrade edgecnn here\."):
        read_probe(tmp_path / "p.json")


FACTS = encode(a_probe())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe{\x00}\x00", "no JSON"),  # as a shell of Windows writes it
        (b"[]", "no schema"),
        (b"7", "no schema"),
        (b'{"schema": true}', "no schema"),
        (b'{"schema": 0}', "no schema"),
        (b'{"schema": "1"}', "no schema"),
        (b'{"schema": 1}', "is missing"),
        (b'{"schema": 1, "schema": 1}', "twice"),
        (b"[" * 2000, "nested"),
        (json.dumps({**FACTS, "cores": 0}).encode(), "no device's"),
        (json.dumps({**FACTS, "cores": "four"}).encode(), r"probe\.cores: a whole number was wanted"),
        (json.dumps({**FACTS, "bits": 48}).encode(), "no device's"),
        (json.dumps({**FACTS, "isa": "asimd"}).encode(), r"probe\.isa: a list was wanted"),
        (json.dumps({**FACTS, "board": "Pi\x1b[2J"}).encode(), "can't be printed"),
        (json.dumps({**FACTS, "onnxruntime": {"products": {"wanted": 1}}}).encode(), "fast is missing"),
        (json.dumps({**FACTS, "temperatures": [{"name": "cpu", "celsius": float("nan")}]}).encode(), "NaN"),
        (b" " * 1_000_001, "more than 1000000 bytes"),
    ],
)
def test_what_is_no_probe_is_refused_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(TargetRejected, match=said) as caught:
        read_probe(tmp_path / "p.json")
    assert "\n" not in str(caught.value)
    assert "edgecnn probe --json" in str(caught.value)


def test_a_folder_is_no_probe(tmp_path: Path) -> None:
    with pytest.raises(TargetRejected, match="it is a folder"):
        read_probe(tmp_path)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_value_in_any_field_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    for field in FACTS:
        path.write_text(json.dumps({**FACTS, field: value}))
        with contextlib.suppress(TargetRejected):
            assert isinstance(read_probe(path), Probe)


@pytest.mark.parametrize(("machine", "bits"), [("armv7l", 32), ("armv6l", 32), ("armv8l", 32), ("armhf", 32), ("aarch64", 32)])
def test_32_bit_arm_has_no_wheel_under_any_name(machine: str, bits: int) -> None:
    assert "no wheel for 32-bit Arm" in (wheel_fault(machine, bits) or "")


@pytest.mark.parametrize(("machine", "bits"), [("x86_64", 64), ("aarch64", 64), ("arm64", 64), ("AMD64", 64), ("any", 64)])
def test_64_bit_systems_have_one(machine: str, bits: int) -> None:
    assert wheel_fault(machine, bits) is None


def test_another_32_bit_system_has_none() -> None:
    assert "32-bit system (i686)" in (wheel_fault("i686", 32) or "")
