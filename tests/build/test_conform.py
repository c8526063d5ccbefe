"""Any classifier's .onnx is brought into edgecnn's form with its answers kept, or one sentence says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecnn.build.export import export_module
from edgecnn.build.onnx_io import parse
from edgecnn.build.source import Source, open_source
from edgecnn.device.engines import open_graph
from edgecnn.device.session import open_session
from edgecnn.errors import GraphRejected, SourceRejected, UsageError

Make = Callable[..., onnx.ModelProto]
Images = Callable[..., NDArray[np.float32]]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Source]:
    """opened(model, **described): the model saved as net.onnx and opened."""

    def make(model: onnx.ModelProto, **described: object) -> Source:
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        return open_source(tmp_path / "net.onnx", **described)  # type: ignore[arg-type]

    return make


def check_answers(source: Source, data: bytes, x: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(open_session(data, source.spec, optimize=False).logits(x), source.logits(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, "dynamic"])
def test_an_open_batch_is_fixed_or_kept(unfolded: Make, opened: Callable[..., Source], images: Images, batch: int | str) -> None:
    source = opened(unfolded(), batch=batch)
    data = export_module(source)
    first = "batch" if batch == "dynamic" else batch
    engine = open_graph(data)
    assert engine.inputs == (("input", "float32", (first, 3, 8, 8)),)
    assert engine.outputs == (("logits", "float32", (first, 5)),)
    check_answers(source, data, images(3, 3, 8, 8))
    model = parse(data)
    shaped = {value.name for value in (*model.graph.value_info, *model.graph.output) if value.type.tensor_type.HasField("shape")}
    assert {name for node in model.graph.node for name in node.output} <= shaped


def test_a_fixed_batch_is_kept_and_no_other_is_made_of_it(unfolded: Make, opened: Callable[..., Source]) -> None:
    assert export_module(opened(unfolded(batch=2), batch=2))
    for batch in (1, "dynamic"):
        with pytest.raises(SourceRejected, match="frozen at 2"):
            opened(unfolded(batch=2), batch=batch)


def frozen_inside(model: onnx.ModelProto) -> onnx.ModelProto:
    """The batch is open at the edges, and a Reshape within makes it 1."""
    model.graph.node[4].CopyFrom(helper.make_node("Reshape", ["pool", "shape"], ["flat"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4], np.int64), "shape"))
    return model


def test_a_batch_that_is_frozen_inside_is_noticed(unfolded: Make, opened: Callable[..., Source]) -> None:
    assert export_module(opened(frozen_inside(unfolded())))
    with pytest.raises(SourceRejected, match=r"fails on an input of shape \[2, 3, 8, 8\]"):
        opened(frozen_inside(unfolded()), batch="dynamic")


def test_open_sides_take_the_size_that_is_asked_for(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    model = unfolded()
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        dim.dim_param = name
    with pytest.raises(UsageError, match="input size isn't known"):
        opened(model)
    source = opened(model, input_size="12x16")
    data = export_module(source)
    assert open_graph(data).inputs[0].shape == (1, 3, 12, 16)
    check_answers(source, data, images(2, 3, 12, 16))


def test_edges_are_renamed_even_where_the_names_are_taken(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    model = unfolded()
    for node in model.graph.node:  # the graph's own values bear the names that edgecnn gives its edges
        for names in (node.input, node.output):
            names[:] = [{"conv": "logits", "w": "input"}.get(name, name) for name in names]
    model.graph.initializer[0].name = "input"
    source = opened(model)
    check_answers(source, export_module(source), images(2, 3, 8, 8))


@pytest.mark.parametrize(("opset", "wanted"), [(9, 18), (12, 18), (13, 13), (17, 17), (20, 20), (22, 20)])
def test_other_operator_sets_are_converted_only_where_they_must(
    unfolded: Make, opened: Callable[..., Source], images: Images, opset: int, wanted: int
) -> None:
    source = opened(unfolded(opset=opset, ir_version=10 if opset > 20 else 8))
    data = export_module(source)
    model = parse(data)
    assert model.opset_import[0].version == wanted
    assert model.ir_version <= 9
    check_answers(source, data, images(2, 3, 8, 8))


def test_initializers_that_are_listed_as_inputs_are_no_inputs(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    model = unfolded(ir_version=3, opset=9)
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer)
    source = opened(model)
    data = export_module(source)
    assert len(parse(data).graph.input) == 1
    check_answers(source, data, images(1, 3, 8, 8))


def test_one_of_several_outputs_is_cut_out_with_what_it_needs(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    model = unfolded()
    model.graph.node.append(helper.make_node("Gemm", ["flat", "extra"], ["other"], name="extra"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 7), np.float32), "extra"))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 7]))
    with pytest.raises(SourceRejected, match=r"has 2 outputs \(y, other\)"):
        opened(model)
    for index, labels in ((0, 5), (1, 7)):
        source = opened(model, output_index=index)
        data = export_module(source)
        assert len(source.spec.labels) == labels
        assert [node.name for node in parse(data).graph.node].count("extra") == index
        assert {tensor.name for tensor in parse(data).graph.initializer} & {"g", "extra"} == {["g", "extra"][index]}
        check_answers(source, data, images(2, 3, 8, 8))


def test_answers_of_one_pixel_are_flattened(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    model = unfolded()
    del model.graph.node[4:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("pool", TensorProto.FLOAT, ["N", 4, 1, 1]))
    source = opened(model)
    data = export_module(source)
    assert open_graph(data).outputs[0].shape == (1, 4)
    check_answers(source, data, images(2, 3, 8, 8))


def test_local_functions_are_inlined(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    model = unfolded()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("local", "Rectify", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.graph.node[2].CopyFrom(helper.make_node("Rectify", ["norm"], ["relu"], domain="local", name="relu"))
    model.opset_import.append(helper.make_opsetid("local", 1))
    source = opened(model)
    data = export_module(source)
    assert not parse(data).functions
    check_answers(source, data, images(2, 3, 8, 8))


def test_documentation_and_metadata_of_others_go(unfolded: Make, opened: Callable[..., Source]) -> None:
    model = unfolded()
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "/home/somebody/net.py"
    model.metadata_props.add(key="path", value="/home/somebody")
    assert b"somebody" not in export_module(opened(model))


def test_channels_last_is_told_with_what_to_do(unfolded: Make, opened: Callable[..., Source]) -> None:
    model = unfolded()
    model.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 8, 8, 3]))
    with pytest.raises(SourceRejected, match=r"image is \(N, 8, 8, 3\), channels last; \(batch, channels, height, width\) was wanted"):
        opened(model)


def with_input(model: onnx.ModelProto, dtype: int, shape: list[int | str]) -> onnx.ModelProto:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, shape))
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT))
    return model


def test_other_inputs_are_told(unfolded: Make, opened: Callable[..., Source]) -> None:
    with pytest.raises(SourceRejected, match="image is uint8; float32 was wanted"):
        opened(with_input(unfolded(), TensorProto.UINT8, ["N", 3, 8, 8]))
    with pytest.raises(SourceRejected, match=r"has shape \(N, 3\); \(batch, channels, height, width\) was wanted"):
        opened(with_input(unfolded(), TensorProto.FLOAT, ["N", 3]))
    two = unfolded()
    two.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    with pytest.raises(SourceRejected, match=r"has 2 inputs \(x, mask\); one, of images, was wanted"):
        opened(two)


def test_foreign_operators_are_named(unfolded: Make, opened: Callable[..., Source]) -> None:
    model = unfolded()
    model.graph.node[2].domain, model.graph.node[2].op_type = "vendor.ai", "FastRelu"
    model.opset_import.append(helper.make_opsetid("vendor.ai", 1))
    with pytest.raises(SourceRejected, match=r"vendor\.ai::FastRelu \(node relu\) is none of onnxruntime's own"):
        opened(model)


def test_types_below_eight_bits_are_named(unfolded: Make, opened: Callable[..., Source]) -> None:
    model = unfolded(opset=21, ir_version=10)
    model.graph.initializer.append(helper.make_tensor("tiny", TensorProto.INT4, [2], [1, 2]))
    with pytest.raises(SourceRejected, match="Tensor tiny is INT4"):
        opened(model)


def test_weights_of_nan_are_named(unfolded: Make, opened: Callable[..., Source]) -> None:
    model = unfolded()
    broken = numpy_helper.to_array(model.graph.initializer[0]).copy()
    broken[0, 0, 0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, "w"))
    with pytest.raises(SourceRejected, match="w holds NaN"):
        opened(model)


def test_what_onnxruntime_can_not_load_is_told(unfolded: Make, opened: Callable[..., Source]) -> None:
    model = unfolded()
    model.graph.node[2].domain, model.graph.node[2].op_type = "com.microsoft", "NoSuchOperator"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(GraphRejected, match=r"can't load the graph .*NoSuchOperator"):
        opened(model)


def test_labels_that_do_not_match_the_outputs(unfolded: Make, opened: Callable[..., Source]) -> None:
    with pytest.raises(UsageError, match="There are 3 labels, the network has 5 outputs"):
        opened(unfolded(), labels="a,b,c")


def test_the_given_file_stays_the_reference(unfolded: Make, opened: Callable[..., Source], images: Images) -> None:
    """The source answers by the given bytes, not by what edgecnn made of them."""
    model = unfolded()
    source = opened(model)
    x = images(2, 3, 8, 8)
    np.testing.assert_array_equal(source.logits(x[:1]), open_graph(model.SerializeToString(), optimize=False).run({"x": x[:1]})[0])
    assert source.onnx == model.SerializeToString()
