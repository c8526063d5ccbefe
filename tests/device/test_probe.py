"""The probe on devices whose onnxruntime is well, missing, broken or deadly: whatever happens to it, the rest is told."""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from edgecnn.artifact.codec import encode
from edgecnn.artifact.probe import Probe, read_probe
from edgecnn.device import host
from edgecnn.device import probe as probing
from edgecnn.device.probe import probe, runtime

CPU = "CPUExecutionProvider"

Stand = Callable[[str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """stand_in(code): what children import as onnxruntime."""

    def write(code: str) -> None:
        (tmp_path / "path" / "onnxruntime").mkdir(parents=True)
        (tmp_path / "path" / "onnxruntime" / "__init__.py").write_text("import os, signal\n" + code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))

    return write


@pytest.fixture(scope="module")
def here() -> Probe:
    return probe()


def test_this_machine_is_told(here: Probe) -> None:
    assert (here.system, here.machine, here.bits) == (os.uname().sysname, os.uname().machine, 64)
    assert (here.cores, here.isa, here.memory_bytes) == (host.available_cores(), host.isa(), host.memory_bytes())
    assert here.python == platform.python_version()
    assert set(here.packages) == {"numpy", "onnxruntime", "pillow", "click"}
    assert here.memory_available_bytes is not None
    assert here.memory_bytes is not None
    assert 0 < here.memory_available_bytes <= here.memory_bytes


def test_onnxruntime_is_asked_what_it_does(here: Probe) -> None:
    found = here.onnxruntime
    assert (found.failure, found.version) == (None, onnxruntime.__version__)
    assert {provider.name for provider in found.providers} == set(onnxruntime.get_available_providers())
    assert next(provider for provider in found.providers if provider.name == CPU).loads
    assert found.products is not None
    assert found.products.wanted == 259_080
    assert found.products.mended
    assert found.products.saturates == host.may_saturate()


def test_the_newest_graphs_that_load_are_the_limits_that_onnxruntime_states(here: Probe) -> None:
    """An independent answer: what its message says when the next one is refused."""
    from edgecnn.device.tiny_graphs import relu

    found = here.onnxruntime
    assert found.opset is not None
    assert found.ir_version is not None
    assert found.opset >= 20
    for opset, ir_version, said in (
        (7, found.ir_version + 1, f"max supported IR version: {found.ir_version}"),
        (found.opset + 1, 7, f"opset {found.opset}"),
    ):
        with pytest.raises(Exception, match=said):
            onnxruntime.InferenceSession(relu(opset=opset, ir_version=ir_version), providers=[CPU])
        onnxruntime.InferenceSession(relu(opset=min(opset, found.opset), ir_version=min(ir_version, found.ir_version)), providers=[CPU])


def test_a_probe_travels_as_a_file(here: Probe, tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text(json.dumps(encode(here)))
    assert read_probe(tmp_path / "probe.json") == here


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", "it was killed by SIGILL while onnxruntime was imported: the CPU lacks an instruction"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "it was killed by SIGSEGV while onnxruntime was imported: it may not find the CPU described"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "it was killed by SIGKILL while onnxruntime was imported: the memory may have run out"),
        ("os.abort()", "it was killed by SIGABRT while onnxruntime was imported"),
        ("os._exit(3)", "it ended with exit code 3"),
        ("os._exit(0)", "it ended without a word while onnxruntime was imported"),
        (
            "raise ImportError('libm.so.6: version `GLIBC_2.38 not found')",
            "onnxruntime can't be imported here (libm.so.6: version `GLIBC_2.38 not found; install it anew",
        ),
        ("raise RuntimeError('a long story\\nand its end')", "RuntimeError: and its end while onnxruntime was imported"),
        ("pass", "AttributeError: module 'onnxruntime' has no attribute '__version__' while onnxruntime was imported"),
        ("__version__ = '9.9'; get_available_providers = lambda: ['\\x1b[2J', 7]", "AttributeError: module 'onnxruntime' has no attribute"),
        ('print(\'{"opset": "many", "products": [], "done": 1}\'); os._exit(0)', "it ended without a word while onnxruntime was imported"),
    ],
)
def test_a_broken_onnxruntime_is_told_with_how_and_why_and_the_rest_too(stand_in: Stand, code: str, said: str) -> None:
    stand_in(code)
    found = probe()
    assert found.onnxruntime.failure is not None
    assert found.onnxruntime.failure.startswith(said)
    assert found.onnxruntime.failure.isprintable()
    assert found.onnxruntime.opset is None
    assert found.cores == host.available_cores()
    assert found.packages["onnxruntime"] == onnxruntime.__version__  # what is installed is known without importing it


def test_one_that_dies_in_the_middle_has_told_what_came_before(stand_in: Stand) -> None:
    deadly = "class SessionOptions:\n    def __init__(self): os.kill(os.getpid(), signal.SIGILL)"
    stand_in(f"__version__ = '9.9'\nget_available_providers = lambda: []\n{deadly}")
    found = probe().onnxruntime
    assert found.version == "9.9"
    assert (found.failure or "").startswith("it was killed by SIGILL while onnxruntime loaded a tiny graph")


def test_one_that_hangs_is_given_up(stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "TIMEOUT_S", 2.0)
    stand_in("import time; time.sleep(600)")
    assert probe().onnxruntime.failure == "it took longer than 2 s while onnxruntime was imported"


@pytest.mark.parametrize(
    ("machine", "bits", "advice"),
    [("x86_64", 64, "run: pip install onnxruntime"), ("armv7l", 32, "onnxruntime has no wheel for 32-bit Arm (armv7l)")],
)
def test_where_it_is_not_installed_it_is_said_what_to_do_if_anything_can_be(stand_in: Stand, machine: str, bits: int, advice: str) -> None:
    stand_in("raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')")
    failure = runtime(machine=machine, bits=bits).failure or ""
    assert failure.startswith(f"onnxruntime isn't installed; {advice}")


def test_a_module_that_it_needs_and_that_is_missing_is_named(stand_in: Stand) -> None:
    stand_in("import coloredlogs_of_old")
    assert "No module named 'coloredlogs_of_old'" in (probe().onnxruntime.failure or "")


PROVIDERS = """
import sys
sys.path.remove(os.environ["PYTHONPATH"])
del sys.modules["onnxruntime"]
import onnxruntime as real
names = ["DeadlyExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
real.get_available_providers = lambda: names
session = real.InferenceSession
def opened(model, options, providers, **rest):
    if providers[0].startswith("Deadly"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return session(model, options, providers=providers, **rest)
real.InferenceSession = opened
sys.modules["onnxruntime"] = real
"""


def test_providers_that_are_listed_and_do_not_load_are_told_apart_even_from_those_that_kill(stand_in: Stand) -> None:
    stand_in(PROVIDERS)
    found = probe().onnxruntime
    assert found.failure is None
    assert [(provider.name, provider.loads) for provider in found.providers] == [
        ("DeadlyExecutionProvider", False),
        ("CUDAExecutionProvider", False),
        (CPU, True),
    ]
    assert "killed by SIGSEGV while DeadlyExecutionProvider was loaded" in (found.providers[0].why or "")
    assert "CUDAExecutionProvider was asked for, onnxruntime loaded CPUExecutionProvider" in (found.providers[1].why or "")


def test_the_probe_itself_loads_neither_numpy_nor_onnxruntime() -> None:
    import subprocess
    import sys

    script = "import sys; from edgecnn.device.probe import probe; probe(); print(sorted({'numpy', 'onnxruntime', 'PIL', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_counting_up_ends_at_the_first_that_does_not_load() -> None:
    newest = importlib.import_module("edgecnn.device._probe_child").newest
    assert newest(lambda number: number <= 20) == 20
    assert newest(lambda number: number not in (9,)) == 8
    assert newest(lambda number: False) is None
    assert newest(lambda number: True) == 100
