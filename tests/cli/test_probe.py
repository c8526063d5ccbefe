from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact.probe import Clock, Products, Provider, Sensor
from edgecnn.cli import main
from tests.fixtures.probes import SATURATED, a_probe, runtime


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """on(**changes): the device that is probed."""
    return lambda **changes: monkeypatch.setattr("edgecnn.device.probe.probe", lambda: a_probe(**changes))


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in capsys.readouterr().out.splitlines()}


def test_people_read_aligned_lines(on: Any, capsys: pytest.CaptureFixture[str]) -> None:
    on(
        clock=Clock(mhz=600.0, most_mhz=1500.0, governor="ondemand"),
        temperatures=(Sensor(name="cpu-thermal", celsius=45.277),),
        memory_available_bytes=3 << 30,
        libc="glibc 2.36",
        packages={"numpy": "1.26.4", "onnxruntime": "1.17.3"},
    )
    assert main(["probe"]) == 0
    found = lines(capsys)
    assert found == {
        "board": "Raspberry Pi 4 Model B Rev 1.4",
        "processor": "Cortex-A72, aarch64, 64-bit",
        "cores": "4 of 4",
        "extensions": "asimd",
        "memory": "3.63 GiB allowed, 3.00 GiB free",
        "clock": "600 MHz, at most 1500 MHz, governor ondemand",
        "temperature": "cpu-thermal 45.3 °C",
        "system": "Linux, glibc 2.36, Python 3.11.2",
        "packages": "numpy 1.26.4, onnxruntime 1.17.3",
        "onnxruntime": "1.17.3, reads graphs up to opset 20 and IR 9",
        "provider": "CPUExecutionProvider loads",
        "int8": "exact: no product saturates",
    }


def test_what_is_unknown_is_said_to_be(on: Any, capsys: pytest.CaptureFixture[str]) -> None:
    on(board=None, processor=None, isa=(), memory_bytes=None, onnxruntime=runtime(products=None, providers=()))
    assert main(["probe"]) == 0
    found = lines(capsys)
    assert "board" not in found
    assert found["processor"].startswith("unknown, aarch64")
    assert (found["memory"], found["clock"], found["temperature"]) == ("unknown", "unknown", "no sensor can be read")
    assert "int8" not in found


@pytest.mark.parametrize(
    ("products", "said"),
    [
        (SATURATED, "SATURATES: 255 x 127 add up to 131064 instead of 259080, right in its precise mode, which edgecnn takes"),
        (
            Products(wanted=259080.0, fast=131064.0, precise=131064.0),
            "SATURATES: 255 x 127 add up to 131064 instead of 259080, 131064 in its precise mode",
        ),
    ],
)
def test_saturation_is_shown_with_its_sums(on: Any, capsys: pytest.CaptureFixture[str], products: Products, said: str) -> None:
    on(onnxruntime=runtime(products=products))
    assert main(["probe"]) == 0
    assert lines(capsys)["int8"] == said


def test_a_provider_that_does_not_load_says_why(on: Any, capsys: pytest.CaptureFixture[str]) -> None:
    on(onnxruntime=runtime(providers=(Provider(name="CUDAExecutionProvider", loads=False, why="no driver"),)))
    assert main(["probe"]) == 0
    assert lines(capsys)["provider"] == "CUDAExecutionProvider DOESN'T LOAD: no driver"


@pytest.mark.parametrize("as_json", [False, True])
def test_where_onnxruntime_does_not_run_all_else_is_told_and_the_exit_code_is_4(on: Any, capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    on(onnxruntime=runtime(opset=None, ir_version=None, products=None, providers=(), failure="it was killed by SIGILL"))
    assert main(["probe", *(["--json"] if as_json else [])]) == 4
    captured = capsys.readouterr()
    assert captured.err == "edgecnn: onnxruntime doesn't run here: it was killed by SIGILL.\n"
    if as_json:
        assert json.loads(captured.out)["onnxruntime"] == {"version": "1.17.3", "providers": [], "failure": "it was killed by SIGILL"}
    else:
        assert "Cortex-A72" in captured.out
        assert "1.17.3, reads no graph" in captured.out


def test_names_cannot_act_on_the_terminal(on: Any, capsys: pytest.CaptureFixture[str]) -> None:
    on(processor="Evil\x1b[2J")
    assert main(["probe"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_it_works_where_neither_onnxruntime_nor_numpy_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("numpy", "onnxruntime", "PIL"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is broken')")
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["probe", "--json"]) == 4
    captured = capsys.readouterr()
    assert json.loads(captured.out)["cores"] >= 1
    assert captured.err == "edgecnn: onnxruntime doesn't run here: ImportError: numpy is broken while numpy was imported.\n"
