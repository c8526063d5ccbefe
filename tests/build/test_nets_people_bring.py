"""Networks in the style of common public ones, none of ours: each exports with torch's answers, simplifies, and keeps an open batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from edgecnn.build.conform import conform
from edgecnn.build.export import export_module
from edgecnn.build.onnx_io import parse
from edgecnn.build.simplify import simplify
from edgecnn.build.source import open_source
from edgecnn.device.session import open_session
from tests.fixtures.modules import NETS
from tests.fixtures.real_shapes import check_shapes


@pytest.mark.parametrize("name", NETS)
def test_export_and_simplification_keep_torchs_answers(name: str) -> None:
    net = NETS[name]
    module = net.build()
    source = open_source(module, input_size=net.input_shape, output_index=net.output_index, name="brought")
    data = export_module(source)
    x = np.random.Generator(np.random.PCG64(3)).standard_normal((4, *net.input_shape), dtype=np.float32)
    with torch.no_grad():
        leaves = pytree.tree_leaves(module(torch.tensor(x)))
    expected = leaves[net.output_index or 0].numpy().reshape(4, -1)
    assert expected.shape == (4, net.outputs) == (4, len(source.spec.labels))
    simple = simplify(data, check_inputs=x)
    assert len(simple.model) <= len(data)
    for graph in (data, simple.model):
        np.testing.assert_allclose(open_session(graph, source.spec).logits(x), expected, rtol=1e-5, atol=1e-5)
        check_shapes(graph, x[:1])
    open_values = [value.name for value in parse(data).graph.value_info if not all(dim.dim_value for dim in value.type.tensor_type.shape.dim)]
    assert not open_values


@pytest.mark.parametrize("name", ["feature pyramid", "channel shuffle", "layer norm and group norm", "two outputs"])
def test_an_open_batch_stays_open(name: str) -> None:
    net = NETS[name]
    source = open_source(net.build(), input_size=net.input_shape, output_index=net.output_index, batch="dynamic")
    data = export_module(source)
    x = np.random.Generator(np.random.PCG64(3)).standard_normal((5, *net.input_shape), dtype=np.float32)
    np.testing.assert_allclose(open_session(data, source.spec).logits(x), source.logits(x), rtol=1e-5, atol=1e-5)
    check_shapes(data, x)
    assert conform(data, input_shape=net.input_shape, labels=net.outputs, batch="batch") == data
