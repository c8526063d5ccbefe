"""onnxsim's result counts only when it is valid, no larger and answers alike; whatever it does, the pipeline goes on with a good graph."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgecnn.build.conform import conform
from edgecnn.build.onnx_io import parse
from edgecnn.build.simplify import Simplified, simplify
from edgecnn.device.engines import open_graph

Make = Callable[..., onnx.ModelProto]
Images = Callable[..., NDArray[np.float32]]


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in parse(model).graph.node]


@pytest.fixture
def model(unfolded: Make) -> bytes:
    return conform(unfolded().SerializeToString(), input_shape=(3, 8, 8), labels=5, batch="batch")


@pytest.fixture
def run_fake(model: bytes, images: Images, tmp_path: Path) -> Callable[..., Simplified]:
    """run_fake(code): simplify with a child that runs `code`, in which `model` is the graph as a ModelProto and `save()` writes it."""

    def run(code: str, **limits: float) -> Simplified:
        script = tmp_path / "fake.py"
        script.write_text(
            "import sys, onnx\nfrom onnx import helper, numpy_helper\n"
            "source, target = sys.argv[1:]\nmodel = onnx.load(source)\n"
            "def save():\n    open(target, 'wb').write(model.SerializeToString())\n" + code
        )
        return simplify(model, check_inputs=images(3, 3, 8, 8), command=[sys.executable, str(script)], **limits)

    return run


def test_a_batch_norm_is_folded_and_the_answers_stay(model: bytes, images: Images) -> None:
    result = simplify(model, check_inputs=images(3, 3, 8, 8))
    assert result.note is None
    assert "BatchNormalization" in operators(model)
    assert "BatchNormalization" not in operators(result.model)
    assert len(result.model) < len(model)
    assert open_graph(result.model).inputs[0].shape == ("batch", 3, 8, 8)
    assert set(result.tools) >= {"onnxsim", "onnx"}
    x = images(5, 3, 8, 8)
    np.testing.assert_allclose(open_graph(result.model).run_one(x), open_graph(model).run_one(x), rtol=1e-5, atol=1e-5)


def test_the_same_graph_gives_the_same_bytes(model: bytes, images: Images) -> None:
    assert simplify(model, check_inputs=images(1, 3, 8, 8)).model == simplify(model, check_inputs=images(1, 3, 8, 8)).model


def test_a_fixed_batch_is_checked_on_any_number_of_images(unfolded: Make, images: Images) -> None:
    fixed = conform(unfolded().SerializeToString(), input_shape=(3, 8, 8), labels=5, batch=2)
    assert simplify(fixed, check_inputs=images(3, 3, 8, 8)).note is None


def test_where_nothing_is_left_to_do_the_bytes_stay(model: bytes, images: Images) -> None:
    once = simplify(model, check_inputs=images(1, 3, 8, 8)).model
    again = simplify(once, check_inputs=images(1, 3, 8, 8))
    assert again.model == once
    assert again.note == "nothing was left to simplify"


WRONG = {
    "a crash": ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    "an exception": ("raise RuntimeError('no luck')", "exit code 1 .*no luck"),
    "no result": ("pass", "it wrote nothing"),
    "an empty result": ("open(target, 'wb').close()", "invalid .*no ONNX graph"),
    "garbage": ("open(target, 'wb').write(b'garbage')", "invalid .*no ONNX graph"),
    "an invalid graph": ("model.graph.node[0].input[1] = 'nowhere'; save()", "invalid .*nowhere"),
    "a graph that doesn't run": (
        "n = model.graph.node[0]; n.domain, n.op_type = 'com.microsoft', 'Nonsense'; del n.attribute[:]\n"
        "model.opset_import.add(domain='com.microsoft', version=1); save()",
        "it brought in the operator com.microsoft::Nonsense",
    ),
    "a larger graph": (
        "model.graph.initializer.append(numpy_helper.from_array(__import__('numpy').ones(9999, 'f4'), 'big')); save()",
        "grew from .* bytes",
    ),
    "a huge file": ("open(target, 'wb').write(bytes(9 << 20))", "grew from .* bytes"),
    "more nodes": (
        "w = model.graph.initializer[0]; w.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(w).astype('f2'), w.name))\n"
        "model.graph.node.insert(0, helper.make_node('Cast', [w.name], ['c'], to=1)); model.graph.node[1].input[1] = 'c'; save()",
        "grew from 6 to 7 nodes",
    ),
    "a lost open dimension": (
        "for v in (*model.graph.input, *model.graph.output): v.type.tensor_type.shape.dim[0].dim_value = 1\n"
        "del model.graph.value_info[:]; model.graph.node.pop(1); model.graph.node[1].input[0] = 'conv'; save()",
        "lost its open dimension",
    ),
    "another input": (
        "model.graph.input[0].name = model.graph.node[0].input[0] = 'data'\nmodel.graph.node.pop(1); model.graph.node[1].input[0] = 'conv'; save()",
        "the graph's inputs changed",
    ),
    "another operator set": (
        "model.opset_import[0].version = 16; model.graph.node.pop(1); model.graph.node[1].input[0] = 'conv'; save()",
        "operator set changed",
    ),
    "another answer": ("model.graph.node.pop(1); model.graph.node[1].input[0] = 'conv'; save()", "an answer changed by"),
    "a slightly other answer": (
        "sys.modules['torch'] = None; import onnxsim; model, _ = onnxsim.simplify(model)\n"
        "w = next(w for w in model.graph.initializer if w.name == 'g')\n"
        "w.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(w) * 1.0001).astype('f4'), w.name)); save()",
        "an answer changed by",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_bad_result_is_rejected_with_its_reason(run_fake: Callable[..., Simplified], model: bytes, what: str) -> None:
    code, reason = WRONG[what]
    result = run_fake(code)
    assert result.model == model
    assert result.note is not None
    assert re.search(reason, result.note), result.note


def test_answers_of_nan_are_rejected(run_fake: Callable[..., Simplified], model: bytes) -> None:
    code = (
        "w = model.graph.initializer[-1]; a = numpy_helper.to_array(w) * float('nan'); w.CopyFrom(numpy_helper.from_array(a.astype('f4'), w.name))\n"
        "model.graph.node.pop(1); model.graph.node[1].input[0] = 'conv'; save()"
    )
    result = run_fake(code)
    assert result.model == model
    assert "an answer changed" in (result.note or "")


def test_a_hanging_simplifier_is_given_up(run_fake: Callable[..., Simplified], model: bytes) -> None:
    result = run_fake("import time; time.sleep(60)", timeout_s=3)
    assert result.model == model
    assert result.note == "the simplifier's result was rejected: it took longer than 3 s"


def test_a_hungry_simplifier_is_stopped(run_fake: Callable[..., Simplified], model: bytes) -> None:
    result = run_fake("block = bytearray(900 << 20); save()", memory_mb=700)
    assert result.model == model
    assert "MemoryError" in (result.note or "")


def test_the_child_imports_no_torch_and_nothing_of_the_working_folder(model: bytes, tmp_path: Path) -> None:
    """A stray onnx.py beside the user's files must not run, and torch, where installed, would cost seconds."""
    from edgecnn.build import simplify as module

    (tmp_path / "onnx.py").write_text("raise SystemExit('the stray file ran')")
    (tmp_path / "in.onnx").write_bytes(model)
    child = Path(module.__file__).with_name("_simplify_child.py")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(child), "in.onnx", "out.onnx"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "onnxsim" in imported
    assert not [name for name in imported if name.startswith("torch.")]
    assert (tmp_path / "out.onnx").stat().st_size > 0
