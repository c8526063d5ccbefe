from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecnn.build.blame.changes import MOST, changed_attributes, changes, first_difference
from edgecnn.build.quantize import quantize
from edgecnn.build.sensitivity import matching_graph
from tests.build.blame.conftest import bad_scale, changed
from tests.fixtures.onnx_nets import residual


@pytest.fixture
def graph():
    return residual()


def setting(name, make):
    def change(proto):
        entry = next(entry for entry in proto.graph.initializer if entry.name == name)
        entry.CopyFrom(numpy_helper.from_array(np.array(make(numpy_helper.to_array(entry)), order="C"), name))

    return change


def node(proto, name):
    return next(node for node in proto.graph.node if node.name == name)


def dilate(proto):
    node(proto, "n0").attribute.append(helper.make_attribute("dilations", [2, 2]))


def rewire(proto):
    node(proto, "n5").input[:] = ["t4", "t4"]


def another_operator(proto):
    relu = node(proto, "n1")
    relu.op_type = "Abs"


def drop(proto):
    proto.graph.node.remove(node(proto, "n1"))
    node(proto, "n2").input[0] = "t0"
    node(proto, "n5").input[1] = "t0"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dilate, ["n0: its dilations is [2, 2] where a rebuild gives none"]),
        (rewire, ["n5 reads t4, t4 where a rebuild reads t4, t1"]),
        (another_operator, ["n1 is a Abs where a rebuild gives a Relu"]),
        (
            drop,
            ["n1 (Relu) is missing in it", "n2 reads t0, c2, c3 where a rebuild reads t1, c2, c3", "n5 reads t4, t0 where a rebuild reads t4, t1"],
        ),
        (setting("c0", lambda w: w.swapaxes(2, 3)), ["n0: its constant c0 is otherwise: height and width are swapped"]),
        (setting("c0", lambda w: w[:, ::-1]), ["n0: its constant c0 is otherwise: its input channels are in reverse"]),
        (setting("c6", lambda w: w.swapaxes(0, 1)), ["n4: its constant c6 is otherwise: its first two axes are swapped"]),
        (setting("c6", lambda w: w + (w == w.max())), ["n4: its constant c6 is otherwise in 1 of 256 values"]),
        (setting("c9", lambda w: w.T), ["n9: its constant c9 is float32 [16, 5] where a rebuild gives float32 [5, 16]"]),
        (setting("c5", lambda w: w * 2), ["n3: its constant c5 is otherwise, 12 where a rebuild gives 6"]),
        (lambda proto: None, []),
    ],
)
def test_what_is_otherwise_is_named_with_its_layer(graph, change, told):
    assert changes(graph, changed(graph, change)) == tuple(told)


def test_a_scale_is_told_of_the_layer_that_it_belongs_to(graph):
    images = np.random.default_rng(0).random((8, 3, 16, 16), dtype=np.float32)
    int8 = quantize("int8", graph, lambda: iter((images,))).model
    (told,) = changes(int8, changed(int8, bad_scale(2, "t3_scale")))
    assert told.startswith("n2: its constant t3_scale is otherwise, ")
    (told,) = changes(int8, changed(int8, bad_scale(2, "c6_scale")))
    assert told == "n4: its constant c6_scale is otherwise in 16 of 16 values"


def test_many_changes_are_counted(graph):
    def every(proto):
        for entry in proto.graph.initializer:
            setting(entry.name, lambda values: values + 1)(proto)

    told = changes(graph, changed(graph, every))
    assert len(told) == MOST + 1
    assert told[-1].endswith("more differences")


def test_attributes_are_compared_across_quantization(graph):
    images = np.random.default_rng(0).random((8, 3, 16, 16), dtype=np.float32)
    int8 = onnx.load_from_string(quantize("int8", changed(graph, dilate), lambda: iter((images,))).model)
    assert changed_attributes(matching_graph(graph), int8) == ("n0: its dilations is [2, 2] where a rebuild gives none",)
    assert changed_attributes(matching_graph(changed(graph, dilate)), int8) == ()


@pytest.mark.parametrize(
    ("name", "told"), [("c0", "t0, from n0 (Conv)"), ("c2", "t2, from n2 (Conv)"), ("c6", "t4, from n4 (Conv)"), ("c9", "logits, from n9 (Gemm)")]
)
def test_the_first_tensor_that_differs_is_the_faulty_layer_s(graph, name, told):
    images = np.random.default_rng(0).random((9, 3, 16, 16), dtype=np.float32)
    other = changed(graph, setting(name, lambda values: values * np.float32(1.01)))
    assert first_difference(graph, other, images, tolerance=1e-5) == f"the first tensor that differs is {told}"
    assert first_difference(graph, graph, images, tolerance=1e-5) is None


def test_tensors_of_other_shapes_differ_and_a_graph_that_does_not_run_tells_nothing(graph):
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)

    def smaller(proto):
        next(entry for entry in node(proto, "n0").attribute if entry.name == "pads").ints[:] = [0] * 4
        del proto.graph.value_info[:]

    assert first_difference(graph, changed(graph, smaller), images, tolerance=1e-5) == "the first tensor that differs is t0, from n0 (Conv)"
    assert first_difference(graph, graph, images[:, :, :8], tolerance=1e-5) is None
