"""What holds for every quantizer: a new file in build/quantize is tested here from its first day."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import onnx
import pytest

from edgecnn.build import quantize
from edgecnn.build.quantize import Quantized
from edgecnn.errors import UsageError

NAMES = quantize.names()


def test_the_quantizers_of_the_command_line_are_there():
    assert {"dynamic", "fp16", "int8"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_it_keeps_the_edges_and_nearly_the_answers(name, batch, make_residual, images, calibration, answers, sqnr):
    graph = make_residual(batch=batch)
    x = images[: batch if isinstance(batch, int) else 8]
    made = quantize.quantize(name, graph, calibration)
    before, after = onnx.load_from_string(graph), onnx.load_from_string(made.model)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    if batch == 4:  # the fixture's runner feeds a fixed batch one by one
        return
    assert sqnr(answers(graph, x), answers(made.model, x)) > 25


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_gets_smaller(name, net, calibration):
    make = net(size=16)
    wide = make.node("Relu", make.conv("input", (3, 64)))
    make.linear(make.pooled(wide), 64, 200, output="logits")
    graph = make.bytes(labels=200)
    assert len(quantize.quantize(name, graph, calibration).model) < 0.8 * len(graph)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_whole_and_signed_as_before(name, graph, calibration):
    after = onnx.load_from_string(quantize.quantize(name, graph, calibration).model)
    onnx.checker.check_model(after, full_check=True)
    assert after.producer_name == "tests"
    assert [(entry.key, entry.value) for entry in after.metadata_props] == [("name", "net")]
    assert after.ir_version == 8
    known = {value.name for value in (*after.graph.value_info, *after.graph.output)}
    pairs = ("QuantizeLinear", "DequantizeLinear")  # their shapes are their inputs'
    assert {output for node in after.graph.node if node.op_type not in pairs for output in node.output} <= known
    assert {entry.name for entry in after.graph.initializer} <= {name for node in after.graph.node for name in node.input}
    assert {entry.domain for entry in after.opset_import} == {""}


@pytest.mark.parametrize("name", NAMES)
def test_the_record_tells_what_was_done(name, graph, calibration):
    made = quantize.quantize(name, graph, calibration)
    assert isinstance(made, Quantized)
    assert made.configuration["weight_type"] in ("int8", "float16")
    assert made.tools["onnx"] == onnx.__version__
    assert "onnxruntime" in made.tools
    assert made.note is None


@pytest.mark.parametrize("name", NAMES)
def test_it_talks_to_the_log_and_not_to_the_screen(name, graph, calibration, capfd, caplog):
    before, path = list(logging.getLogger().handlers), list(sys.path)
    with caplog.at_level(logging.DEBUG):
        quantize.quantize(name, graph, calibration)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert {record.name for record in caplog.records} <= {"edgecnn.build"}
    assert logging.getLogger().handlers == before
    assert sys.path == path


@pytest.mark.parametrize("name", NAMES)
def test_nodes_without_names_and_constants_as_nodes_are_taken(name, graph, calibration):
    proto = onnx.load_from_string(graph)
    for node in proto.graph.node:
        node.name = ""
    moved = next(entry for entry in proto.graph.initializer if len(entry.dims) == 2)
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], [moved.name], value=moved))
    proto.graph.initializer.remove(moved)
    made = quantize.quantize(name, proto.SerializeToString(), calibration)
    assert len(made.model) < len(quantize.quantize(name, graph, calibration).model) * 1.2
    names = [node.name for node in onnx.load_from_string(made.model).graph.node]
    assert all(names)


_SCRIPT = """
import hashlib, sys
import numpy as np
from edgecnn.build import quantize
images = np.load(sys.argv[2])
graph = open(sys.argv[1], "rb").read()
for name in quantize.names():
    print(hashlib.sha256(quantize.quantize(name, graph, lambda: iter([images])).model).hexdigest())
corrected = quantize.quantize("int8", graph, lambda: iter([images]), ranges="mse", equalize=True, rounding="adaptive", correct_bias=True)
print(hashlib.sha256(corrected.model).hexdigest())
print("torch" in sys.modules)
"""


def test_every_process_makes_the_same_bytes_without_torch(graph, images, tmp_path):
    import numpy as np

    (tmp_path / "graph.onnx").write_bytes(graph)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "graph.onnx"), str(tmp_path / "images.npy")]
    found = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}, cwd=folder, capture_output=True, text=True, check=True).stdout
        for seed, zone, folder in (("1", "Asia/Tokyo", tmp_path), ("2", "America/Lima", "/"))
    ]
    assert found[0] == found[1]
    assert found[0].endswith("False\n")


def test_an_unknown_name_is_told_with_what_was_meant(graph):
    with pytest.raises(UsageError, match=r"no quantizer int9, did you mean int8\?"):
        quantize.quantize("int9", graph)


def test_whether_images_are_needed_is_known_beforehand():
    assert quantize.needs_calibration("int8")
    assert not quantize.needs_calibration("fp16")
    assert not quantize.needs_calibration("dynamic")
