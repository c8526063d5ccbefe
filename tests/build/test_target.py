"""What a target makes of an export's arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecnn.build.target import Aim, aim
from edgecnn.device.host import available_cores
from edgecnn.errors import UsageError
from tests.fixtures.probes import SATURATED, probe_file, runtime


def aimed(target: str | Path | None, **changes: Any) -> Aim:
    return aim(target, **{"quantize": "int8", "config": None, "opset": None, "threads": None, "replays": False, **changes})


def old(path: Path, opset: int, ir_version: int) -> Path:
    """The probe of a device whose onnxruntime is older."""
    return probe_file(path / "old.json", onnxruntime=runtime(opset=opset, ir_version=ir_version))


def test_without_a_target_nothing_changes() -> None:
    found = aimed(None, config={"per_channel": False}, opset=15, threads=1)
    assert found == Aim(target=None, config={"per_channel": False}, opset=15, threads=1)
    assert found.name is None
    found.check(quantize="int8", config={}, opset=99)


@pytest.mark.parametrize(
    ("target", "activation_type", "reduce_range"),
    [
        ("x86-64", "uint8", True),
        ("x86-64-vnni", "uint8", False),
        ("rpi3", "uint8", False),
        ("rpi4", "uint8", False),
        ("armv8", "uint8", False),
        ("rpi5", "int8", False),
        ("jetson-orin", "int8", False),
        ("generic", "uint8", True),
    ],
)
def test_int8_is_what_was_measured_best_on_such_a_cpu(target: str, activation_type: str, reduce_range: bool) -> None:
    assert aimed(target).config == {"activation_type": activation_type, "reduce_range": reduce_range}


def test_what_the_user_says_goes_before_it() -> None:
    config = {"activation_type": "uint8", "ranges": "mse"}
    assert aimed("rpi5", config=config).config == {"activation_type": "uint8", "reduce_range": False, "ranges": "mse"}
    assert config == {"activation_type": "uint8", "ranges": "mse"}


def test_other_quantizers_get_the_options_that_they_have() -> None:
    assert aimed("x86-64", quantize="dynamic").config == {"reduce_range": True}
    assert not aimed("x86-64", quantize="fp16").config
    assert not aimed("x86-64", quantize="none").config


def test_what_a_recipe_says_is_left_alone(tmp_path: Path) -> None:
    found = aimed(old(tmp_path, 17, 8), quantize="none", replays=True)
    assert (found.config, found.opset) == (None, None)
    found.check(quantize="int8", config={"activation_type": "int8"}, opset=17)
    with pytest.raises(UsageError, match="opset 18 was asked for"):
        found.check(quantize="int8", config={}, opset=18)


# opset and IR version


def test_a_runtime_that_reads_all_that_we_write_decides_nothing() -> None:
    assert aimed("rpi4").opset is None
    aimed("rpi4").check(quantize="none", config={}, opset=20)


@pytest.mark.parametrize(("opset", "ir_version", "chosen"), [(17, 8, 17), (18, 8, 18), (19, 9, 18), (20, 8, 18), (13, 8, 13), (26, 13, None)])
def test_the_newest_opset_that_both_sides_know_is_taken(tmp_path: Path, opset: int, ir_version: int, chosen: int | None) -> None:
    """IR 9 goes with opset 19 and 20, IR 8 with those before."""
    assert aimed(old(tmp_path, opset, ir_version)).opset == chosen


def test_an_opset_that_was_asked_for_is_kept_or_refused(tmp_path: Path) -> None:
    target = old(tmp_path, 17, 8)
    assert aimed(target, opset=15).opset == 15
    found = aimed(target, opset=20)
    with pytest.raises(UsageError, match=r"opset 20 was asked for, and the onnxruntime of .*Pi 4.* reads opset 17 and IR 8 at most; take --opset 17"):
        found.check(quantize="none", config={}, opset=found.opset)


@pytest.mark.parametrize(("opset", "ir_version"), [(12, 8), (17, 7)])
def test_a_runtime_that_is_too_old_for_all_of_them_is_said(tmp_path: Path, opset: int, ir_version: int) -> None:
    with pytest.raises(
        UsageError, match=f"reads opset {opset} and IR {ir_version} at most, opset 13 and IR 8 are wanted; install a newer onnxruntime"
    ):
        aimed(old(tmp_path, opset, ir_version))


# what can't run there


def test_armv7_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError) as caught:
        aimed("armv7")
    assert str(caught.value).startswith("nothing can be exported for 32-bit Arm (armv7l, armhf)")
    assert "onnxruntime has no wheel for 32-bit Arm (armv7l); install a 64-bit system" in str(caught.value)


@pytest.mark.parametrize("quantize", ["int8", "dynamic"])
@pytest.mark.parametrize("config", [{"reduce_range": "false"}, {"reduce_range": False}])
def test_weights_that_saturate_there_are_refused(quantize: str, config: dict[str, Any]) -> None:
    found = aimed("x86-64", quantize=quantize, config=config)
    with pytest.raises(UsageError, match=rf"{quantize} with weights of 8 bits saturates on an x86-64 PC.*--config reduce_range=true"):
        found.check(quantize=quantize, config=found.config or {}, opset=None)
    aimed("x86-64-vnni", quantize=quantize, config=config).check(quantize=quantize, config=config, opset=None)


def test_the_target_s_own_choice_passes_its_own_check(tmp_path: Path) -> None:
    measured = probe_file(tmp_path / "p.json", machine="x86_64", isa=("avx2",), onnxruntime=runtime(products=SATURATED))
    for target in ("x86-64", "generic", measured):
        found = aimed(target)
        assert found.config == {"activation_type": "uint8", "reduce_range": True}
        found.check(quantize="int8", config=found.config, opset=found.opset)
        found.check(quantize="none", config={}, opset=None)
        found.check(quantize="fp16", config={}, opset=None)


# --quantize auto


def test_auto_measures_on_as_many_threads_as_the_device_has_and_this_machine_allows() -> None:
    assert aimed("rpi4", quantize="auto").threads == min(4, available_cores())
    assert aimed("generic", quantize="auto").threads == 1
    assert aimed("rpi4", quantize="auto", threads=1).threads == 1
    assert aimed("rpi4").threads is None  # a number for auto only, which others refuse
    assert not aimed("rpi4", quantize="auto").config


def test_auto_says_that_it_measured_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecnn.device import host

    monkeypatch.setattr(host, "is_x86", lambda: True)
    monkeypatch.setattr(host, "has_vnni", lambda: True)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(host, "isa", lambda: ("avx2", "avx_vnni"))
    assert aimed("x86-64-vnni", quantize="auto").notes == ()
    (note,) = aimed("x86-64", quantize="auto").notes
    assert "measured on this machine (x86_64), not on an x86-64 PC or server with AVX2, without VNNI" in note
    assert "not on Raspberry Pi 5" in aimed("rpi5", quantize="auto").notes[0]
    assert aimed("rpi5").notes == ()
