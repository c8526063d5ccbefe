"""What export starts from: a checkpoint of ours, code, an exported program, an .onnx, or an nn.Module. Torch is imported only for what needs it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact.spec import ModelSpec, Preprocess, Task, make_spec
from edgecnn.build.chatter import chatter_to_log
from edgecnn.build.describe import Labels, PreprocessLike, Size, parse_labels, parse_preprocess, parse_size, preset
from edgecnn.errors import CheckpointRejected, EdgecnnError, ExtraMissing, InputMissing, SourceRejected, UsageError

if TYPE_CHECKING:
    import torch

Kind = Literal["module", "exported-program", "onnx"]
Float32 = NDArray[np.float32]
Named = tuple[str, NDArray[Any]]
_CHUNK = 16  # images at once where the batch is open
_CALLABLE = re.compile(r"(.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A network that is ready for export: exactly one of module (in eval mode), program and onnx is there, and `spec` says what it is.

    output_index: which of its outputs is meant; notes: what was assumed or changed, a sentence each;
    licenses ("model", "data": SPDX) and recipe_sha256: where a checkpoint of ours tells them.
    """

    kind: Kind
    spec: ModelSpec
    module: torch.nn.Module | None = None
    program: torch.export.ExportedProgram | None = None
    onnx: bytes | None = None
    output_index: int = 0
    notes: tuple[str, ...] = ()
    licenses: Mapping[str, str] = field(default_factory=dict)
    recipe_sha256: str | None = None
    outputs: Callable[[Float32], list[Named]] = field(repr=False, compare=False)

    def logits(self, x: Float32) -> Float32:
        """The network's own answers: float32 (n, channels, height, width) -> float32 (n, labels), by torch in eval mode or by onnxruntime
        without optimization. A fixed batch is filled up with the last image. Raises UsageError for another shape or dtype, SourceRejected."""
        wanted = self.spec.input.shape[1:]
        if x.ndim != 4 or x.shape[1:] != wanted or x.dtype != np.float32 or not len(x):
            raise UsageError(f"{x.dtype} of shape {list(x.shape)} was given to the network; float32 of shape {['n', *wanted]} was wanted.")
        size = self.spec.batch or _CHUNK
        answers = []
        with chatter_to_log():
            for start in range(0, len(x), size):
                images = x[start : start + size]
                missing = size - len(images) if self.spec.batch else 0
                padded = np.concatenate((images, np.repeat(images[-1:], missing, axis=0))) if missing else images
                answers.append(_run(self.outputs, padded)[self.output_index][1].reshape(len(padded), -1)[: len(images)])
        return np.ascontiguousarray(np.concatenate(answers), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for; see open_source."""

    spec: ModelSpec | None = None
    weights: Path | str | None = None
    allow_pickle: bool = False
    args: Mapping[str, str] = field(default_factory=dict)
    input_size: Size | None = None
    trust_source: bool = False
    labels: Labels | None = None
    preprocess: PreprocessLike | None = None
    name: str | None = None
    version: str | None = None
    sequence: int | None = None
    task: Task | None = None
    thresholds: Sequence[float] | None = None
    output_index: int | None = None
    batch: int | str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A network as it was found. shape: (batch, channels, height, width) of its input, None where it doesn't say; base: a spec that came with it.

    likely_channels: a guess, for where nothing and nobody says.
    """

    kind: Kind
    name: str
    shape: tuple[int | None, ...]
    outputs: Callable[[Float32], list[Named]]
    likely_channels: int | None = None
    base: ModelSpec | None = None
    module: torch.nn.Module | None = None
    program: torch.export.ExportedProgram | None = None
    onnx: bytes | None = None
    notes: tuple[str, ...] = ()
    licenses: Mapping[str, str] = field(default_factory=dict)
    recipe_sha256: str | None = None


def open_source(
    source: str | Path | torch.nn.Module | torch.export.ExportedProgram,
    *,
    spec: ModelSpec | None = None,
    weights: Path | str | None = None,
    allow_pickle: bool = False,
    args: Mapping[str, str] | None = None,
    input_size: Size | None = None,
    trust_source: bool = False,
    labels: Labels | None = None,
    preprocess: PreprocessLike | None = None,
    name: str | None = None,
    version: str | None = None,
    sequence: int | None = None,
    task: Task | None = None,
    thresholds: Sequence[float] | None = None,
    output_index: int | None = None,
    batch: int | str | None = None,
) -> Source:
    """Find the network that `source` names, run it once, and say what it is.

    source: a checkpoint of ours (.safetensors), `package.module:callable` or `file.py:callable`, a program of torch.export (.pt2), an .onnx, or an
    nn.Module or ExportedProgram. spec: what it is, where that is known already; the other descriptions stand above it.
    weights, args: for a callable: a state dict (.safetensors; a pickle of plain tensors only with allow_pickle), and its arguments as text.
    input_size: (height, width) or (channels, height, width), also as text. trust_source: a .pt2 may run code.
    labels, preprocess: see describe.py; class0, class1, ... and "unit" where nothing is said.
    output_index: which output to take where there are several. batch: a number (1 where nothing is said), or "batch" or "dynamic" to leave it open.

    Raises UsageError, InputMissing, CheckpointRejected, GraphRejected, SourceRejected or ExtraMissing.
    """
    request = Request(
        spec=spec,
        weights=weights,
        allow_pickle=allow_pickle,
        args=args or {},
        input_size=input_size,
        trust_source=trust_source,
        labels=labels,
        preprocess=preprocess,
        name=name,
        version=version,
        sequence=sequence,
        task=task,
        thresholds=thresholds,
        output_index=output_index,
        batch="batch" if batch == "dynamic" else batch,
    )
    with _extra(), chatter_to_log():
        return _complete(_find(source, request), request)


def _find(source: Any, request: Request) -> Found:
    if not isinstance(source, (str, Path)):
        return _from_object(source)
    path, text = Path(source), str(source)
    code = bool(_CALLABLE.fullmatch(text)) and not os.path.exists(path)
    if not code and (request.weights is not None or request.args):
        raise UsageError(f"Weights and arguments belong to package.module:callable or file.py:callable; {text} holds its own.")
    if code:
        from edgecnn.build import torch_source

        return torch_source.from_callable(text, request)
    if not os.path.exists(path):  # which, unlike Path's, is False for a name that is too long
        raise InputMissing(f"{text} doesn't exist; give a checkpoint (.safetensors), an .onnx, a .pt2, package.module:callable or file.py:callable.")
    if path.suffix == ".onnx":
        from edgecnn.build import onnx_source

        return onnx_source.from_onnx(path, request)
    if path.suffix in (".pt2", ".safetensors"):
        from edgecnn.build import torch_source

        return torch_source.from_program(path, request) if path.suffix == ".pt2" else torch_source.from_checkpoint(path, request)
    if path.suffix == ".py":
        raise UsageError(f"{text} is code; say which class or function in it makes the network: {text}:NAME.")
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        raise CheckpointRejected(
            f"{text} is a pickle, which can run code and doesn't say which network it belongs to; give the network, with these weights: "
            f"file.py:callable --weights {path.name} --allow-pickle."
        )
    raise UsageError(f"{text} is no source; a checkpoint (.safetensors), an .onnx, a .pt2, package.module:callable or file.py:callable was wanted.")


def _from_object(source: Any) -> Found:
    if "torch" in sys.modules:
        import torch

        from edgecnn.build import torch_source

        if isinstance(source, torch.nn.Module):
            return torch_source.from_module(source, name=type(source).__name__)
        if isinstance(source, torch.export.ExportedProgram):
            return torch_source.from_exported(source, name="model")
    raise UsageError(f"A {type(source).__name__} is no source; a torch.nn.Module, a path or package.module:callable was wanted.")


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("torch", "onnx", "onnxscript", "safetensors", "google", "tomli"):
            raise
        raise ExtraMissing(f"Exporting needs {missing}, which isn't installed here: pip install 'edgecnn[export]'") from None


def _complete(found: Found, request: Request) -> Source:
    base = request.spec or found.base
    batch = request.batch or (base.input.shape[0] if base else 1)
    if batch != "batch" and not (isinstance(batch, int) and batch > 0):
        raise UsageError(f"The batch is {batch!r}; a positive number, or dynamic, was wanted.")
    if found.shape[0] is not None and found.shape[0] != batch:
        raise frozen_batch(found.shape[0], batch)
    pre = _preprocess(found, request, base)
    shape = (pre.depth, *pre.input_size)
    index, answers, notes = _probe(found, request.output_index, (batch if isinstance(batch, int) else 2, *shape))
    if base is None and request.preprocess is None:
        notes = (*notes, "nothing was said of its preprocessing: pixels become 0 to 1 (the preset unit)")
    return Source(
        kind=found.kind,
        spec=_spec(found, request, base, pre, answers.shape[1], batch),
        module=found.module,
        program=found.program,
        onnx=found.onnx,
        output_index=index,
        notes=(*found.notes, *notes),
        licenses=found.licenses,
        recipe_sha256=found.recipe_sha256,
        outputs=found.outputs,
    )


def frozen_batch(fixed: int, wanted: int | str) -> SourceRejected:
    """The error for a network that only takes another batch."""
    asked = "an open batch" if isinstance(wanted, str) else f"a batch of {wanted}"
    return SourceRejected(
        f"The network's batch size is frozen at {fixed}, {asked} was asked for: export with a batch of {fixed}, "
        "or make the network read the size from its input (x.flatten(1), not x.view(2, -1))."
    )


def _preprocess(found: Found, request: Request, base: ModelSpec | None) -> Preprocess:
    """The preprocessing, in agreement with all that says something of the input's shape."""
    asked = parse_size(request.input_size) if request.input_size is not None else None
    channels = (
        (asked[0] if asked and len(asked) == 3 else None) or (base.preprocess.depth if base else None) or found.shape[1] or found.likely_channels
    )
    sides = (asked[-2:] if asked else None) or (base.preprocess.input_size if base else None) or found.shape[2:]
    size = (sides[0], sides[1]) if sides[0] and sides[1] else None
    if channels not in (None, 1, 3):
        raise SourceRejected(f"The network takes {channels} channels; 3 (colour) or 1 (grey) were wanted: images have no others.")
    if request.preprocess is not None:
        pre = parse_preprocess(request.preprocess, channels=channels, size=size)
    elif base is not None:
        pre = base.preprocess
    elif size is None:
        raise UsageError("The network's input size isn't known; give it (--input-size), such as 224x224 or 1x28x28.")
    else:
        pre = preset("unit", channels=channels or 3, size=size)
    made = (pre.depth, *pre.input_size)
    for what, known in (("the input size that was asked for is", asked), ("the network takes", found.shape[1:])):
        if known and any(a is not None and a != b for a, b in zip(known[::-1], made[::-1], strict=False)):
            shown = " x ".join("?" if side is None else str(side) for side in known)
            raise UsageError(f"The preprocessing makes {' x '.join(map(str, made))} (channels, height, width), {what} {shown}; make them agree.")
    return pre


def _probe(found: Found, index: int | None, shape: tuple[int, ...]) -> tuple[int, NDArray[Any], tuple[str, ...]]:
    """Run it twice on the same noise: which output, its answers (n, labels), and notes. Raises SourceRejected for what is no classifier."""
    x = np.random.Generator(np.random.PCG64(0)).random(shape, dtype=np.float32)
    outputs = _run(found.outputs, x)
    names = tuple(name for name, _ in outputs)
    index = choose_output(names, index)
    answers = outputs[index][1]
    notes: tuple[str, ...] = ()
    if answers.dtype != np.float32:
        raise SourceRejected(f"The network answers with {answers.dtype}; float32 logits were wanted.")
    if answers.ndim == 4 and answers.shape[2:] == (1, 1):
        notes = (f"its answers {tuple(answers.shape)} are flattened to (batch, {answers.shape[1]})",)
        answers = answers.reshape(answers.shape[:2])
    if answers.ndim != 2 or answers.shape[0] != shape[0]:
        found_shape = tuple(outputs[index][1].shape)
        raise SourceRejected(f"A batch of {shape[0]} is answered with shape {found_shape}; (batch, labels) was wanted: a classifier's logits.")
    if not np.isfinite(answers).all():
        raise SourceRejected("The network answers NaN or infinity to an ordinary input; such answers can't be compared, look at its weights.")
    again = _run(found.outputs, x)[index][1].reshape(answers.shape)
    if not np.allclose(answers, again, rtol=1e-4, atol=1e-5):
        raise SourceRejected("The network answers the same input differently each time: something in forward is random; fix it in eval mode.")
    if answers.shape[1] > 1 and (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-5):
        notes = (
            *notes,
            "its answers look like probabilities: edgecnn takes the softmax itself, so leave it out of the network or the scores come out flat",
        )
    elif (answers >= 0).all() and (answers <= 1).all() and answers.any():
        notes = (
            *notes,
            "its answers all lie between 0 and 1, as a sigmoid's do: edgecnn takes the sigmoid itself, so leave it out of the network",
        )
    return index, answers, notes


def _run(outputs: Callable[[Float32], list[Named]], x: Float32) -> list[Named]:
    try:
        return outputs(x)
    except (SourceRejected, MemoryError):
        raise
    except Exception as error:  # a network's own code raises anything
        reason = first_line(error) if isinstance(error, EdgecnnError) else f"{type(error).__name__}: {first_line(error)}"
        raise SourceRejected(f"The network fails on an input of shape {list(x.shape)}: {reason}; is the size right?") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's message that says something, 300 characters at most, without its full stop."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300].rstrip(". ")


def choose_output(names: tuple[str, ...], index: int | None) -> int:
    """Which output to take. Raises SourceRejected naming them where there are several and none was chosen, UsageError for an index outside."""
    if index is not None:
        if not 0 <= index < len(names):
            raise UsageError(f"Output {index} was asked for, the network has {len(names)}: {', '.join(names)}; count from 0.")
        return index
    if len(names) != 1:
        raise SourceRejected(
            f"The network has {len(names)} outputs ({', '.join(names)}); one of logits was wanted: say which (--output-index, from 0)."
        )
    return 0


def _spec(found: Found, request: Request, base: ModelSpec | None, pre: Preprocess, outputs: int, batch: int | str) -> ModelSpec:
    if request.labels is not None:
        labels = parse_labels(request.labels)
    else:
        labels = base.labels if base else tuple(f"class{number}" for number in range(outputs))
    if len(labels) != outputs:
        raise UsageError(f"There are {len(labels)} labels, the network has {outputs} outputs; give one label for each output, in their order.")
    task = request.task or (base.task if base else "single-label")
    thresholds = request.thresholds or (base.postprocess.thresholds if base and base.task == task else None)
    name = request.name or (base.name if base else re.sub(r"[^a-z0-9._-]+", "-", found.name.lower()).strip("-._")[:64] or "model")
    sequence = request.sequence if request.sequence is not None else base.sequence if base else 0
    try:
        return make_spec(
            name=name,
            labels=labels,
            preprocess=pre,
            task=task,
            version=request.version or (base.version if base else "1.0.0"),
            sequence=sequence,
            batch=batch,
            thresholds=tuple(thresholds) if thresholds else None,
        )
    except ValueError as error:
        raise UsageError(f"The model can't be described so: {error}.") from None
