"""Networks in torch: checkpoints of ours, code that people bring, exported programs and nn.Module objects."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from edgecnn.build.callables import load_callable, load_into
from edgecnn.build.source import Found, Named, Request, first_line
from edgecnn.errors import SourceRejected, UsageError
from edgecnn.train.checkpoint import load_checkpoint


def from_checkpoint(path: Path, request: Request) -> Found:
    """A checkpoint of ours. Raises InputMissing or CheckpointRejected."""
    checkpoint = load_checkpoint(path)
    header = checkpoint.header
    licenses = {"model": header.license, "data": header.data_license}
    return from_module(
        checkpoint.module(),
        base=checkpoint.spec,
        name=checkpoint.spec.name,
        licenses={key: value for key, value in licenses.items() if value},
        recipe_sha256=header.recipe_sha256,
    )


def from_callable(source: str, request: Request) -> Found:
    """Code and, perhaps, weights for it. Raises what load_callable and load_into raise."""
    module = load_callable(source, request.args)
    notes = load_into(module, request.weights, allow_pickle=request.allow_pickle) if request.weights is not None else ()
    return from_module(module, name=source.rpartition(":")[2].rpartition(".")[2], notes=notes)


def from_module(module: torch.nn.Module, *, name: str, notes: tuple[str, ...] = (), **known: Any) -> Found:
    """A copy of `module` in eval mode, in float32, on the CPU; `module` itself stays as it is. Raises SourceRejected."""
    ready, more = _prepared(module)
    first = next((layer for layer in ready.modules() if isinstance(layer, torch.nn.Conv2d)), None)
    return Found(
        kind="module",
        name=name,
        shape=(None, None, None, None),
        likely_channels=1 if first is not None and first.in_channels == 1 else 3,
        outputs=_runner(ready),
        module=ready,
        notes=(*notes, *more),
        **known,
    )


def from_program(path: Path, request: Request) -> Found:
    """A torch.export `.pt2`: unpickling it can run code, so only on request. Raises InputMissing, UsageError or SourceRejected."""
    if not request.trust_source:
        raise UsageError(
            f"{path} is a program of torch.export, and reading it can run any code; if you trust where it is from, say so (--trust-source)."
        )
    try:
        program = torch.export.load(path)
    except Exception as error:  # its readers raise anything
        raise SourceRejected(f"{path} is no program that torch.export {torch.__version__} can load ({first_line(error)}).") from None
    return from_exported(program, name=path.stem)


def from_exported(program: torch.export.ExportedProgram, *, name: str) -> Found:
    """A program captured in eval mode, with one float32 input of images."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
            if argument.name in ("train", "training") and value is True:
                raise SourceRejected(f"The program was captured in train mode ({node.target} trains); call eval() first and export it again.")
    _check_weights({**program.state_dict, **program.constants})
    inputs = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor) or values[0].ndim != 4 or values[0].dtype != torch.float32:
        raise SourceRejected(
            f"The program takes {len(inputs)} inputs ({', '.join(map(str, inputs))}); one, float32 (batch, channels, height, width), was wanted."
        )
    shape = tuple(size if isinstance(size, int) else None for size in values[0].shape)
    module = program.module()
    return Found(kind="exported-program", name=name, shape=shape, outputs=_runner(module), program=program)


def _prepared(module: torch.nn.Module) -> tuple[torch.nn.Module, tuple[str, ...]]:
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        module = module.module
    if isinstance(module, torch.jit.ScriptModule):
        raise SourceRejected("The network is TorchScript, which torch.export can't follow; give the nn.Module that it was made from.")
    state = [*module.named_parameters(), *module.named_buffers()]
    lazy = next((name for name, tensor in state if torch.nn.parameter.is_lazy(tensor)), None)
    if lazy is not None:
        raise SourceRejected(f"{lazy} has no shape yet (a lazy layer); run the network once on an image before exporting it.")
    try:
        ready = copy.deepcopy(module)
    except Exception as error:  # copying runs the modules' own code
        raise SourceRejected(f"The network can't be copied ({first_line(error)}), and it itself is not to be changed; make it copyable.") from None
    odd = sorted({str(tensor.dtype).removeprefix("torch.") for _, tensor in state if tensor.is_floating_point() and tensor.dtype != torch.float32})
    ready = ready.to("cpu").float().eval()
    _check_weights(dict([*ready.named_parameters(), *ready.named_buffers()]))
    return ready, (f"its weights were {', '.join(odd)}; they are exported as float32",) if odd else ()


def _check_weights(tensors: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            continue
        parameter = isinstance(tensor, torch.nn.Parameter)
        bad = tensor.isnan() if not parameter else ~tensor.isfinite()  # a buffer may hold infinities on purpose, as masks do
        if bool(bad.any()):
            raise SourceRejected(f"{name} holds NaN{' or infinite' if parameter else ''} values; such weights can't be exported, train them again.")


def _runner(module: torch.nn.Module) -> Callable[[np.ndarray[Any, Any]], list[Named]]:
    def outputs(x: np.ndarray[Any, Any]) -> list[Named]:
        with torch.no_grad(), _one_thread():
            answered = module(torch.tensor(x))
        pairs = pytree.tree_flatten_with_path(answered)[0]
        found = [(_path(path, number), value) for number, (path, value) in enumerate(pairs) if isinstance(value, torch.Tensor)]
        if not found:
            raise SourceRejected(f"The network answers with a {type(answered).__name__}; a tensor of logits was wanted.")
        return [(name, value.detach().cpu().numpy()) for name, value in found]

    return outputs


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One image at a time leaves torch's threads waiting for each other: beside other work two took 15 times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _path(path: tuple[Any, ...], number: int) -> str:
    names = [str(getattr(key, "key", getattr(key, "name", number))) for key in path]
    return ".".join(names) or "output"
