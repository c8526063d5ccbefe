"""What every engine must do; onnxruntime's own habits below."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.device import engines, host
from edgecnn.device.engines import Engine, TensorInfo, open_graph
from edgecnn.device.golden import read_golden
from edgecnn.device.session import open_session
from edgecnn.device.validate import check_answers, check_golden
from edgecnn.errors import GraphRejected, InputMissing, ProviderMissing, UsageError
from tests.fixtures.graphs import one_node, tiny_classifier


@pytest.fixture(params=[name for name in engines.names() if importlib.import_module(f"edgecnn.device.engines.{name}").available()])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"edgecnn.device.engines.{request.param}")


@pytest.fixture
def engine(module: ModuleType) -> Engine:
    return module.open_graph(tiny_classifier(labels=4, size=(6, 5)))


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def plain_answer(model: bytes, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]


def test_ort_is_here() -> None:
    assert "ort" in engines.names()


def test_the_edges_are_told(engine: Engine) -> None:
    assert engine.inputs == (TensorInfo("input", "float32", (1, 3, 6, 5)),)
    assert engine.outputs == (TensorInfo("logits", "float32", (1, 4)),)


def test_both_ways_to_run_give_the_graph_s_answer(engine: Engine) -> None:
    x = draw(1, 3, 6, 5)
    wanted = plain_answer(tiny_classifier(labels=4, size=(6, 5)), x)
    np.testing.assert_allclose(engine.run({"input": x})[0], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(engine.run_one(x), engine.run({"input": x})[0])


def test_an_answer_stays_what_it_was_when_the_next_one_is_computed(engine: Engine) -> None:
    x = draw(1, 3, 6, 5)
    first = engine.run_one(x)
    kept = first.copy()
    engine.run_one(-3 * x)
    np.testing.assert_array_equal(first, kept)
    first[:] = 7  # and writing to it disturbs nothing
    np.testing.assert_array_equal(engine.run_one(x), kept)


def test_the_caller_s_array_is_not_touched_or_kept(engine: Engine) -> None:
    x = draw(1, 3, 6, 5)
    before = x.copy()
    answer = engine.run_one(x)
    np.testing.assert_array_equal(x, before)
    x[:] = 0
    np.testing.assert_array_equal(engine.run_one(before), answer)


def test_strided_and_reversed_inputs_count_by_value(engine: Engine) -> None:
    x = draw(1, 3, 5, 6)
    np.testing.assert_array_equal(engine.run_one(x.transpose(0, 1, 3, 2)), engine.run_one(x.transpose(0, 1, 3, 2).copy()))
    y = draw(1, 3, 6, 5)
    np.testing.assert_array_equal(engine.run_one(y[:, ::-1]), engine.run_one(y[:, ::-1].copy()))


def test_an_open_batch_takes_one_size_after_another(module: ModuleType) -> None:
    engine = module.open_graph(tiny_classifier(labels=4, size=6, batch="batch"))
    for count in (1, 3, 2, 3):
        x = draw(count, 3, 6, 6)
        np.testing.assert_array_equal(engine.run_one(x), engine.run({"input": x})[0])


def test_an_output_of_unknown_shape_is_found_out(module: ModuleType) -> None:
    engine = module.open_graph(one_node(shape=(1, 3), result=("rows", "columns")))
    np.testing.assert_array_equal(engine.run_one(draw(1, 3)), draw(1, 3))


@pytest.mark.parametrize(
    "x", [draw(1, 3, 6, 4), draw(2, 3, 6, 5), draw(3, 6, 5), draw(1, 3, 6, 5).astype(np.float64), draw(1, 3, 6, 5).astype(np.uint8)]
)
def test_an_input_that_does_not_fit_is_refused(engine: Engine, x: np.ndarray) -> None:
    with pytest.raises(UsageError, match="doesn't take this input"):
        engine.run_one(x)
    with pytest.raises(UsageError, match="doesn't take this input"):
        engine.run({"input": x})


def test_a_wrong_name_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError):
        engine.run({"image": draw(1, 3, 6, 5)})


@pytest.mark.parametrize("data", [b"", b"not a graph", tiny_classifier()[:-40], tiny_classifier().replace(b"Relu", b"Ulre")])
def test_what_is_no_graph_is_refused_in_one_line(module: ModuleType, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GraphRejected) as caught:
        module.open_graph(data)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_will_do_and_a_missing_one_is_said(module: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_classifier())
    assert module.open_graph(path).run_one(draw(1, 3, 8, 8)).shape == (1, 3)
    with pytest.raises(InputMissing, match=r"nowhere\.onnx doesn't exist"):
        module.open_graph(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("threads", [0, -1, host.available_cores() + 1])
def test_threads_beyond_what_is_allowed_are_refused_with_the_number(module: ModuleType, threads: int) -> None:
    with pytest.raises(UsageError, match=f"may use {host.available_cores()}"):
        module.open_graph(tiny_classifier(), threads=threads)


def test_threads_are_all_that_is_allowed_unless_told(module: ModuleType) -> None:
    assert module.open_graph(tiny_classifier()).threads == host.available_cores()
    assert module.open_graph(tiny_classifier(), threads=1).threads == 1


def test_an_engine_that_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match=r"no engine 'otr', did you mean ort\?"):
        open_graph(tiny_classifier(), engine="otr")


# onnxruntime


def test_the_provider_that_runs_is_named() -> None:
    assert open_graph(tiny_classifier()).provider == "CPUExecutionProvider"
    assert open_graph(tiny_classifier(), provider="cpu").provider == "CPUExecutionProvider"


def test_a_provider_that_this_build_lacks_is_refused_without_a_word_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProviderMissing, match=r"no execution provider CUDAExecutionProvider; it has .*CPUExecutionProvider"):
        open_graph(tiny_classifier(), provider="CUDAExecutionProvider")
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_quietly_fell_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # as a build with CUDA does on a machine without it: listed, asked for, not loaded
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(ProviderMissing, match="CUDAExecutionProvider"):
        open_graph(tiny_classifier(), provider="cuda")


@pytest.mark.parametrize(
    ("installed", "numpy", "said"),
    [
        ("1.17.3", "2.4.6", r"1\.17\.3 was built for numpy 1, and numpy 2\.4\.6 is installed; run: pip install 'numpy<2'"),
        ("1.17.3", "1.26.4", r"libgone\.so is missing; install it anew, or another version than 1\.17\.3"),
        ("1.19.0", "2.4.6", r"libgone\.so is missing"),
        (None, "2.4.6", r"libgone\.so is missing"),
    ],
)
def test_an_onnxruntime_that_cannot_be_imported_is_no_bug_of_ours(
    installed: str | None, numpy: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgecnn.device.engines import ort

    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libgone.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.setattr(np, "__version__", numpy)
    monkeypatch.setattr(ort, "installed_runtime", lambda: installed)
    with pytest.raises(ProviderMissing, match=f"onnxruntime can't be imported here .{said}"):
        open_graph(tiny_classifier())


def options_of(monkeypatch: pytest.MonkeyPatch, **keywords: object) -> onnxruntime.SessionOptions:
    """The SessionOptions that `open_graph` gives to onnxruntime."""
    seen = []
    real = onnxruntime.InferenceSession

    def spy(model: bytes, options: onnxruntime.SessionOptions, **rest: object) -> onnxruntime.InferenceSession:
        seen.append(options)
        return real(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    open_graph(tiny_classifier(), **keywords)
    return seen[0]


@pytest.mark.parametrize(
    ("x86", "vnni", "asked", "precise"),
    [
        (True, False, None, True),
        (True, True, None, False),
        (False, False, None, False),
        (True, False, False, False),
        (True, True, True, True),
    ],
)
def test_precise_int8_is_for_x86_without_vnni_unless_told(
    monkeypatch: pytest.MonkeyPatch, x86: bool, vnni: bool, asked: bool | None, precise: bool
) -> None:
    monkeypatch.setattr(host, "is_x86", lambda: x86)
    monkeypatch.setattr(host, "has_vnni", lambda: vnni)
    options = options_of(monkeypatch, precise=asked)
    if precise:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.x64quantprecision")


def test_references_run_the_graph_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    level = onnxruntime.GraphOptimizationLevel
    assert options_of(monkeypatch, optimize=False).graph_optimization_level == level.ORT_DISABLE_ALL
    assert options_of(monkeypatch).graph_optimization_level == level.ORT_ENABLE_ALL


@pytest.mark.parametrize(
    ("version", "spins"), [("1.17.0", False), ("1.25.1", False), ("1.26.0", True), ("1.31.1", True), ("2.0", True), ("?", False)]
)
def test_waiting_threads_spin_where_that_can_be_bounded(monkeypatch: pytest.MonkeyPatch, version: str, spins: bool) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    options = options_of(monkeypatch)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == ("1" if spins else "0")
    if spins:
        assert 0 < int(options.get_session_config_entry("session.intra_op.spin_duration_us")) <= 100
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.intra_op.spin_duration_us")


@pytest.mark.skipif(host.available_cores() < 2, reason="one core is there, and one thread")
def test_between_answers_the_threads_take_no_cpu_time() -> None:
    opened = open_graph(tiny_classifier(), threads=2)
    for _ in range(20):
        opened.run_one(draw(1, 3, 8, 8))
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def test_a_process_held_to_one_core_computes_with_one_thread_and_says_nothing() -> None:
    script = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import onnxruntime
from edgecnn.device.engines import open_graph
from tests.fixtures.graphs import tiny_classifier
import numpy as np
graph = tiny_classifier()
before = len(os.listdir("/proc/self/task"))
engine = open_graph(graph)
engine.run_one(np.zeros((1, 3, 8, 8), np.float32))
print(engine.threads, len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.stdout.split() == ["1", "0"]
    assert done.stderr == ""


# OpenVINO


@pytest.fixture
def openvino() -> Any:
    return pytest.importorskip("openvino")


def settings_of(engine: Any) -> Any:
    (compiled,) = engine._compiled.values()
    return compiled._request.get_compiled_model()


def test_openvino_computes_in_float32_with_the_threads_that_were_asked_for(openvino: Any) -> None:
    opened = settings_of(open_graph(tiny_classifier(), engine="openvino", threads=1))
    assert opened.get_property("INFERENCE_NUM_THREADS") == 1
    assert opened.get_property("NUM_STREAMS") == 1
    assert opened.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert opened.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0
    assert opened.get_property("EXECUTION_DEVICES") == ["CPU"]


def test_openvino_reports_its_import_to_nobody() -> None:
    script = """
import sys
import time
from edgecnn.device.engines import openvino
openvino.runtime()
assert "openvino" in sys.modules
sys.exit("openvino_telemetry" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_openvino_knows_the_cpu_alone(openvino: Any) -> None:
    assert open_graph(tiny_classifier(), engine="openvino", provider="cpu").provider == "OpenVINO CPU"
    with pytest.raises(ProviderMissing, match="on the CPU alone; cuda"):
        open_graph(tiny_classifier(), engine="openvino", provider="cuda")


def test_openvino_is_no_engine_for_references(openvino: Any) -> None:
    with pytest.raises(UsageError, match="take the engine ort"):
        open_graph(tiny_classifier(), engine="openvino", optimize=False)


def test_openvino_says_which_operator_it_does_not_know(openvino: Any) -> None:
    with pytest.raises(GraphRejected, match=r"openvino \d.* can't load the graph \(No conversion rule found for operations: Ulre-18\)"):
        open_graph(tiny_classifier().replace(b"Relu", b"Ulre"), engine="openvino")


def test_openvino_takes_no_format_but_onnx(openvino: Any) -> None:
    with pytest.raises(GraphRejected):
        open_graph(b'<?xml version="1.0"?><net name="x" version="11"><layers/><edges/></net>', engine="openvino")


@pytest.mark.parametrize("precise", [False, True])
def test_openvino_keeps_an_int8_graph_within_its_limits(openvino: Any, precise: bool) -> None:
    (shipped,) = (Path(__file__).parents[2] / "models" / "five").glob("*.edgecnn")
    with open_bundle(shipped) as bundle:
        session = open_session(bundle.graph_source(), bundle.manifest.spec, engine="openvino", precise=precise)
        steps = check_answers(bundle, read_golden(bundle), session)
    assert [step.message for step in steps if not step.passed] == []


def test_openvino_forgets_old_sizes_of_an_open_batch(openvino: Any) -> None:
    opened: Any = open_graph(tiny_classifier(batch="batch"), engine="openvino")
    for count in range(1, 8):
        assert opened.run_one(draw(count, 3, 8, 8)).shape == (count, 3)
    assert len(opened._compiled) <= 4


def test_openvino_leaves_ctrl_c_alone_whatever_is_let_go_first() -> None:
    """Its plugin leaves the thread a stack for signals that is freed, on CPUs with AMX, and the process would end in a crash."""
    pytest.importorskip("openvino")
    program = """
import signal
from edgecnn.device.engines import open_graph
from tests.fixtures.graphs import tiny_classifier
engines = [open_graph(tiny_classifier(), engine="openvino") for _ in range(6)]
for place in (0, 2, 0, 1, 0, 0):
    del engines[place]
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "models").glob("*/*.edgecnn")), ids=lambda path: path.stem)
def test_openvino_gives_every_shipped_artifact_s_answers_within_what_quantization_changed(openvino: Any, path: Path) -> None:
    with open_bundle(path) as bundle:
        session = open_session(bundle.graph_source(), bundle.manifest.spec, threads=1, engine="openvino")
        report = check_golden(bundle, session=session)
        assert report.passed, report
        host = report.steps[1]
        assert host.max_abs > 0  # it isn't onnxruntime
        assert host.limit == f"atol {bundle.manifest.limits.reference.atol:g}"
