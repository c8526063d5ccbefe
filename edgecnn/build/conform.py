"""Bring any classifier's graph into the one form that the rest of the chain reads.

One float32 input "input" (batch, channels, height, width), one output "logits" (batch, labels), a fixed batch or "batch", opset 13 to 20,
the IR version that goes with it (9 at most), no local functions, no metadata, every shape written down.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import onnx
import onnx.inliner
import onnx.version_converter

from edgecnn.build import metadata
from edgecnn.build.onnx_io import all_nodes, all_tensors, check, parse, serialize, subgraphs
from edgecnn.build.source import first_line, frozen_batch
from edgecnn.errors import GraphRejected, SourceRejected, UsageError

DEFAULT_OPSET, MIN_OPSET, MAX_OPSET = 18, 13, 20
INPUT, OUTPUT = "input", "logits"
DOMAINS = ("", "ai.onnx", "com.microsoft")
_NEWER_TYPES = frozenset(value for name, value in onnx.TensorProto.DataType.items() if value > onnx.TensorProto.BFLOAT16)  # float8, int4 and smaller

Dim = int | str | None


def graph_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The one input that isn't an initializer. Raises SourceRejected naming them where there are more, or where it is no float32 of rank 4."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [value for value in model.graph.input if value.name not in constants]
    if len(found) != 1:
        names = ", ".join(value.name for value in found) or "none"
        raise SourceRejected(f"The graph has {len(found)} inputs ({names}); one, of images, was wanted.")
    value: onnx.ValueInfoProto = found[0]
    kind, shape = value.type.tensor_type, dims(value)
    if kind.elem_type != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise SourceRejected(f"The graph's input {value.name} is {name}; float32 was wanted: export it with float32 at its edges.")
    if shape is None or len(shape) != 4:
        raise SourceRejected(f"The graph's input {value.name} has shape {shape_text(shape)}; (batch, channels, height, width) was wanted.")
    return value


def dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...] | None:
    """Its shape: a number, a name, or None for an axis that is neither; None where there is no shape."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        (dim.dim_value if dim.HasField("dim_value") else None) or (dim.dim_param if dim.HasField("dim_param") else None) or None
        for dim in value.type.tensor_type.shape.dim
    )


def shape_text(shape: Iterable[Dim] | None) -> str:
    return "unknown" if shape is None else f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"


def conform(
    data: bytes, *, input_shape: tuple[int, int, int], labels: int, batch: int | str, output_index: int = 0, opset: int | None = None
) -> bytes:
    """The graph in the form above; `data` stays as it is.

    input_shape: (channels, height, width); labels: how many the network is known to answer with; batch: a number, or "batch" to leave it open;
    opset: None keeps the graph's own where it lies in 13 to 20.
    Raises SourceRejected (a foreign operator, a frozen batch, an output that is no (batch, labels)), GraphRejected or UsageError.
    """
    model = parse(data)
    metadata.name_nodes(model)
    metadata.strip(model)
    model = inline_functions(model)
    check_content(model)
    _free_initializers(model)
    _prune(model, output_index)
    model = _convert_opset(model, opset)
    _set_input(model, input_shape, batch)
    _rename(model, {graph_input(model).name: INPUT, model.graph.output[0].name: OUTPUT})
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model = infer_shapes(model)
    if _flatten(model, batch):
        model = infer_shapes(model)
    _check_output(model, batch, labels)
    model.ir_version = 8 if _opset(model) <= 18 else 9  # the oldest that knows these operators
    check(model)
    return serialize(model)


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the bodies of its local functions in the place of their calls. Raises GraphRejected."""
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise GraphRejected(f"The graph's local functions can't be inlined ({error}).") from None


def check_content(model: onnx.ModelProto) -> None:
    """Refuse what onnxruntime or IR 9 don't know: foreign operators, overloads, types below 8 bits. Raises SourceRejected."""
    for node in all_nodes(model):
        if node.domain not in DOMAINS:
            raise SourceRejected(f"Operator {node.domain}::{node.op_type} (node {node.name}) is none of onnxruntime's own; replace it.")
        if node.overload:
            raise SourceRejected(f"Node {node.name} calls an overloaded function, which IR version 9 doesn't know; inline it before exporting.")
        del node.device_configurations[:]
    del model.configuration[:]
    for tensor in all_tensors(model):
        if tensor.data_type in _NEWER_TYPES:
            name = onnx.TensorProto.DataType.Name(tensor.data_type)
            raise SourceRejected(f"Tensor {tensor.name} is {name}, which devices of today don't read; int8 is the smallest type that was wanted.")


def _free_initializers(model: onnx.ModelProto) -> None:
    """Initializers that are listed as inputs too (every one, before IR 4) become constants alone."""
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)


def _prune(model: onnx.ModelProto, output_index: int) -> None:
    """Keep one output and what it needs."""
    graph = model.graph
    if output_index >= len(graph.output):
        raise UsageError(f"Output {output_index} was asked for, the graph has {len(graph.output)}; count from 0.")
    chosen = graph.output[output_index]
    needed, nodes = {chosen.name}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_uses(node))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    sparse = [tensor for tensor in graph.sparse_initializer if tensor.values.name in needed]
    for field, kept in ((graph.node, nodes[::-1]), (graph.output, [chosen]), (graph.initializer, constants), (graph.sparse_initializer, sparse)):
        if len(kept) < len(field):
            copies = [copy.deepcopy(item) for item in kept]
            del field[:]
            field.extend(copies)


def _uses(node: onnx.NodeProto) -> set[str]:
    names = set(node.input)
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for graph in subgraphs(inner):
                names.update(value.name for value in graph.output)
                for child in graph.node:
                    names.update(child.input)
    return names


def _convert_opset(model: onnx.ModelProto, wanted: int | None) -> onnx.ModelProto:
    found = _opset(model)
    target = wanted or (found if MIN_OPSET <= found <= MAX_OPSET else MAX_OPSET if found > MAX_OPSET else DEFAULT_OPSET)
    if not MIN_OPSET <= target <= MAX_OPSET:
        raise UsageError(f"Opset {target} was asked for; between {MIN_OPSET} and {MAX_OPSET} was wanted.")
    if target == found:
        return model
    for node in model.graph.node:  # the converter carries this default into versions that don't know it
        kept = [attribute for attribute in node.attribute if attribute.name != "noop_with_empty_axes" or attribute.i]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)
    try:
        converted = onnx.version_converter.convert_version(model, target)
    except Exception as error:
        reason = first_line(error).rpartition("failed: ")[2]
        hint = f"ask for opset {found}" if MIN_OPSET <= found <= MAX_OPSET else f"export it again with opset {DEFAULT_OPSET}"
        raise SourceRejected(f"The graph has opset {found}, and onnx can't convert it to {target} ({reason}); {hint}.") from None
    metadata.name_nodes(converted)
    return converted


def _set_input(model: onnx.ModelProto, input_shape: tuple[int, int, int], batch: int | str) -> None:
    value = graph_input(model)
    found = dims(value)
    assert found is not None
    fixed = found[0]
    if isinstance(fixed, int) and fixed != batch:
        raise frozen_batch(fixed, batch)
    for size, wanted_size in zip(found[1:], input_shape, strict=True):
        if isinstance(size, int) and size != wanted_size:
            raise UsageError(f"The network's input is {shape_text(found[1:])}, {shape_text(input_shape)} was asked for (channels, height, width).")
    shape = value.type.tensor_type.shape
    if tuple(found) != (batch, *input_shape):
        del model.graph.value_info[:]  # they speak of the former sizes
    for dim, size in zip(shape.dim, (batch, *input_shape), strict=True):
        dim.Clear()
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size


def _rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename values everywhere; a value that has one of the new names already steps aside."""
    taken = {name for node in all_nodes(model) for name in (*node.input, *node.output)} | {tensor.name for tensor in model.graph.initializer}
    full = {old: new for old, new in names.items() if old != new}
    for new in [*full.values()]:
        if new in taken and new not in full:
            aside = next(name for i in range(len(taken) + 1) if (name := f"{new}_{i}") not in taken)
            full[new] = aside
    for graph in subgraphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = full.get(value.name, value.name)
        for annotation in graph.quantization_annotation:
            annotation.tensor_name = full.get(annotation.tensor_name, annotation.tensor_name)
    for node in all_nodes(model):
        for field in (node.input, node.output):
            renamed = [full.get(name, name) for name in field]
            del field[:]
            field.extend(renamed)


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the shape of every value that onnx can infer, and none of initializers. Raises GraphRejected where shapes contradict each other."""
    known = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in known]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise GraphRejected(f"The graph's shapes contradict each other ({first_line(error)}).") from None


def _flatten(model: onnx.ModelProto, batch: int | str) -> bool:
    """(batch, labels, 1, 1) becomes (batch, labels) by a last node."""
    shape = dims(model.graph.output[0])
    if shape is None or len(shape) != 4 or shape[2:] != (1, 1):
        return False
    _rename(model, {OUTPUT: "features"})
    output = model.graph.output[0]
    model.graph.node.append(onnx.helper.make_node("Flatten", [output.name], [OUTPUT], name="Flatten", axis=1))
    output.CopyFrom(onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, None))
    return True


def _check_output(model: onnx.ModelProto, batch: int | str, labels: int) -> None:
    output = model.graph.output[0]
    shape = dims(output) or (None, labels)  # unknown behind operators that onnx has no rule for
    if output.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(output.type.tensor_type.elem_type).lower()
        raise SourceRejected(f"The network answers with {name}; float32 logits were wanted.")
    if len(shape) != 2 or shape[1] != labels:
        raise SourceRejected(f"The network's output has shape {shape_text(shape)}; (batch, labels) was wanted: a classifier's logits.")
    if isinstance(batch, int) and isinstance(shape[0], int) and shape[0] != batch:
        raise SourceRejected(f"The network makes {shape[0]} answers of a batch of {batch}: its batch size is frozen somewhere inside.")
    if isinstance(batch, str) and isinstance(shape[0], int):
        raise SourceRejected(f"The network always makes {shape[0]} answers, whatever the batch: its batch size is frozen somewhere inside.")
    output.CopyFrom(onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, (batch, labels)))
