"""From a network to an ONNX graph in edgecnn's form: captured by torch.export, or the given .onnx made to conform."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.build.chatter import chatter_to_log, log
from edgecnn.build.conform import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET, conform
from edgecnn.build.metadata import stamp
from edgecnn.build.onnx_io import serialize
from edgecnn.build.source import Source, first_line
from edgecnn.device.engines import open_graph
from edgecnn.errors import EdgecnnError, GraphRejected, SourceRejected, UsageError

if TYPE_CHECKING:
    import onnx

__all__ = ["DEFAULT_OPSET", "export_module", "stamp"]


def export_module(source: Source, *, opset: int | None = None, batch: int | str | None = None) -> bytes:
    """The network as ONNX: input "input" (batch, channels, height, width), output "logits" (batch, labels), float32, one file.

    opset: 18 where nothing is asked (an .onnx keeps its own where it lies between 13 and 20), at most 20, with IR version 9 at most;
    batch: the spec's own where nothing is asked.
    Nodes are named for the modules that they come from; paths, stack traces and documentation are gone; equal networks give equal bytes.
    The exporter's chatter goes to the logger "edgecnn.build".

    Raises SourceRejected (an operator that ONNX lacks, named with its module; control flow that can't be captured; a frozen batch) or UsageError.
    """
    if opset is not None and not MIN_OPSET <= opset <= MAX_OPSET:
        raise UsageError(f"Opset {opset} was asked for; between {MIN_OPSET} and {MAX_OPSET} was wanted.")
    batch = "batch" if batch == "dynamic" else batch or source.spec.input.shape[0]
    shape = (source.spec.preprocess.depth, *source.spec.preprocess.input_size)
    raw = source.onnx if source.onnx is not None else _capture(source, opset or DEFAULT_OPSET, batch, shape)
    model = conform(raw, input_shape=shape, labels=len(source.spec.labels), batch=batch, output_index=source.output_index, opset=opset)
    _try(model, batch, shape)
    return model


def _capture(source: Source, opset: int, batch: int | str, shape: tuple[int, ...]) -> bytes:
    import torch

    open_batch = isinstance(batch, str)
    example = torch.zeros((2 if open_batch else int(batch), *shape))
    network: Any = source.module if source.module is not None else source.program
    dynamic = ({0: torch.export.Dim("batch")},) if open_batch and source.module is not None else None
    try:
        with chatter_to_log(), torch.no_grad():
            program = torch.onnx.export(
                network, (example,), dynamo=True, external_data=False, opset_version=max(opset, DEFAULT_OPSET), dynamic_shapes=dynamic, verbose=True
            )
            assert program is not None
            proto: onnx.ModelProto = program.model_proto
    except MemoryError:
        raise
    except Exception as error:  # the network's own code and the exporter raise anything
        log.info("the export failed", exc_info=error)
        raise _explained(error) from error
    return serialize(proto)


def _explained(error: BaseException) -> SourceRejected:
    """What the exporter's chain of errors says, as one sentence: the operator and its module, or why the network can't be captured."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    cause = chain[-1]
    reason = f"{type(cause).__name__}: {first_line(cause)}"
    node = next((found for link in chain for found in [_failing_node(link)] if found is not None), None)
    if node is not None:
        operator = str(node.meta.get("original_aten") or node.target)
        scope, kind = _module_of(node)
        if any(type(link).__name__ == "DispatchError" for link in chain):
            reason = f"ONNX has nothing for the operator {operator}, which {scope} ({kind}) uses"
            return SourceRejected(f"{reason}; replace it there by operators that ONNX has.")
        return SourceRejected(f"torch.onnx can't translate the operator {operator}, which {scope} ({kind}) uses ({reason}); replace it there.")
    if "data-dependent" in reason:
        reason = "forward decides by the values in a tensor, which a fixed graph can't do"
    return SourceRejected(f"torch.export can't capture the network: {reason}{_users_line(cause)}; change forward there, and export again.")


def _failing_node(error: BaseException) -> Any:
    """The torch.fx node that the exporter was at: it tells it only in the text of its message, but holds it in its frames."""
    import torch

    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and node.op == "call_function" and frame.f_code.co_filename.endswith("_core.py"):
            return node
    return None


def _module_of(node: Any) -> tuple[str, str]:
    """(its dotted path, its class) of the innermost module that a node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return path or "the network itself", kind.rpartition(".")[2] or "its class is not recorded"


def _users_line(error: BaseException) -> str:
    """ " (file.py, line 7: `if y.sum() > 0:`)" for the line of a forward that an exception speaks of or passed through."""
    told = re.findall(r'File "([^"]+)", line (\d+), in forward\n\s+(\S[^\n]*)', str(error))
    passed = [(frame.filename, frame.lineno, frame.line) for frame in traceback.extract_tb(error.__traceback__) if frame.name == "forward"]
    for file, line, code in reversed([*passed, *told]):
        if "/torch/" not in file:
            return f" ({Path(file).name}, line {line}: `{code}`)"
    return ""


def _try(model: bytes, batch: int | str, shape: tuple[int, ...]) -> None:
    """Run the graph once; with an open batch, on three images together and apart: a batch frozen inside, or answers that mix, come out here."""
    images = np.random.Generator(np.random.PCG64(1)).random((3 if isinstance(batch, str) else batch, *shape), dtype=np.float32)
    try:
        engine = open_graph(model, optimize=False)
        together = engine.run_one(images)
        if isinstance(batch, str):
            apart = np.concatenate([engine.run_one(images[number : number + 1]) for number in range(3)])
            if apart.shape != together.shape or not np.allclose(together, apart, rtol=1e-3, atol=1e-4):
                raise SourceRejected(
                    "The network answers an image differently in other company, so an open batch proves nothing; export with a fixed one."
                )
    except (GraphRejected, UsageError) as error:
        if isinstance(batch, str):
            raise SourceRejected(f"The network's graph doesn't run on every batch: {error} Export it with a fixed batch.") from error
        raise SourceRejected(f"The network's graph was made, and yet {error}") from error
    except EdgecnnError:
        raise
