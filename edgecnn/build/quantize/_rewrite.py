"""Changes of a float graph that keep its function and let int8 reach further: what has integer kernels, in an order that ranges can absorb, and
in fewer bytes."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, helper, numpy_helper

from edgecnn.build.quantize._graph import attribute, constant, consumers, sort_nodes


def rewrite(proto: ModelProto) -> None:
    """All of them, in place."""
    _pool_means(proto)
    _clamp_before_pool(proto)
    _drop_defaults(proto)
    _fold_factors(proto)


def _pool_means(proto: ModelProto) -> None:
    """A mean over height and width becomes GlobalAveragePool, which has an integer kernel, and Flatten where it drops the axes."""
    graph = proto.graph
    shapes = {value.name: value for value in (*graph.value_info, *graph.input)}
    for node in [node for node in graph.node if node.op_type == "ReduceMean" and not node.domain]:
        source = shapes.get(node.input[0])
        axes = constant(proto, node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
        if source is None or len(source.type.tensor_type.shape.dim) != 4 or axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            continue
        result, dropped = node.output[0], not attribute(node, "keepdims", 1)
        pool = helper.make_node("GlobalAveragePool", [source.name], [f"{result}_pooled" if dropped else result], name=node.name)
        if dropped:
            place = list(graph.node).index(node)
            graph.node.insert(place + 1, helper.make_node("Flatten", [pool.output[0]], [result], name=f"{node.name}_Flatten", axis=1))
            pooled = graph.value_info.add()
            pooled.CopyFrom(source)
            pooled.name = pool.output[0]
            for dim in pooled.type.tensor_type.shape.dim[2:]:
                dim.dim_value = 1
        node.CopyFrom(pool)


def _clamp_before_pool(proto: ModelProto) -> None:
    """MaxPool, then ReLU: the same the other way round, and then the convolution's range can absorb the ReLU."""
    readers = consumers(proto.graph.node)
    outputs = {value.name for value in proto.graph.output}
    shapes = {value.name: value for value in proto.graph.value_info}
    for pool in proto.graph.node:
        if pool.op_type != "MaxPool" or len(pool.output) != 1 or pool.output[0] in outputs:
            continue
        after, source = readers.get(pool.output[0], []), pool.input[0]
        if len(after) != 1 or after[0].op_type != "Relu" or len(readers[source]) != 1 or source not in shapes:
            continue
        relu, middle, result = after[0], pool.output[0], after[0].output[0]
        relu.input[0], relu.output[0] = source, middle
        pool.input[0], pool.output[0] = middle, result
        shapes[middle].CopyFrom(shapes[source])
        shapes[middle].name = middle
    sort_nodes(proto)


def _drop_defaults(proto: ModelProto) -> None:
    """Attributes of convolutions that say what holds without them: exporters write all, and they are more bytes than a small layer's scales."""
    for node in proto.graph.node:
        if node.op_type == "Conv" and not node.domain:
            kept = [entry for entry in node.attribute if not _says_nothing(entry)]
            del node.attribute[:]
            node.attribute.extend(kept)


def _says_nothing(entry: AttributeProto) -> bool:
    if entry.name == "auto_pad":
        return entry.s == b"NOTSET"
    if entry.name == "group":
        return entry.i == 1
    usual = {"pads": 0, "strides": 1, "dilations": 1}.get(entry.name)
    return usual is not None and all(value == usual for value in entry.ints)


def _fold_factors(proto: ModelProto) -> None:
    """A Gemm's alpha and beta go into its constants: onnxruntime's quantizer divides a bias by beta where it should multiply."""
    graph = proto.graph
    for node in (node for node in graph.node if node.op_type == "Gemm" and not node.domain):
        for place, factor in ((1, attribute(node, "alpha", 1.0)), (2, attribute(node, "beta", 1.0))):
            values = constant(proto, node.input[place]) if place < len(node.input) else None
            if factor == 1 or values is None or values.dtype != np.float32:
                continue
            name = f"{node.input[place]}/{node.name}"
            graph.initializer.append(numpy_helper.from_array(values * np.float32(factor), name))
            node.input[place] = name
            next(entry for entry in node.attribute if entry.name == ("alpha" if place == 1 else "beta")).f = 1.0
