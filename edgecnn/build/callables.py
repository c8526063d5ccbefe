"""`package.module:callable` and `file.py:callable`: the networks that people bring as code. Importing code runs it: this is for one's own."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from edgecnn.artifact.codec import suggestion
from edgecnn.artifact.files import read_whole
from edgecnn.build.source import first_line
from edgecnn.errors import CheckpointRejected, InputMissing, SourceRejected, UsageError
from edgecnn.train.checkpoint import MAX_BYTES, load_weights

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which training scripts save the weights beside other things


def parse_args(args: Mapping[str, str]) -> dict[str, Any]:
    """Values as Python literals where they are ("3", "[1, 2]", "True", "None"), else as text. Raises UsageError for a key that is no name."""
    parsed: dict[str, Any] = {}
    for key, text in args.items():
        if not key.isidentifier():
            raise UsageError(f"The argument {key!r} is no Python name; write key=value.")
        try:
            parsed[key] = ast.literal_eval(text) if isinstance(text, str) else text
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            parsed[key] = text
    return parsed


def load_callable(source: str, args: Mapping[str, str]) -> torch.nn.Module:
    """The network that `source` names: an nn.Module, or a class or function that makes one from `args`.

    The working folder (and, for a file, the file's folder) is importable meanwhile.
    Raises InputMissing, UsageError, or SourceRejected when the code fails or makes something else.
    """
    place, _, attribute = source.rpartition(":")
    file = Path(place) if place.endswith(".py") else None
    with _importable(Path.cwd(), *([file.resolve().parent] if file else [])):
        module = _run(lambda: _import_file(file) if file else _import_module(place), f"importing {place}")
        target = _attribute(module, attribute, place)
        made = _make(target, parse_args(args), source)
    if not isinstance(made, torch.nn.Module):
        raise SourceRejected(f"{source} gives a {type(made).__name__}; a torch.nn.Module, or a class or function that makes one, was wanted.")
    return made


@contextlib.contextmanager
def _importable(*folders: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in reversed(folders)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputMissing(
                f"There is no module {name} in the working folder or the environment; give package.module:callable or file.py:callable."
            ) from None
        raise


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise InputMissing(f"{path} doesn't exist; give file.py:callable.")
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"_edgecnn_source_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their classes up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: Any, path: str, place: str) -> Any:
    found = module
    for name in path.split("."):
        if not hasattr(found, name):
            public = [known for known in dir(found) if not known.startswith("_")]
            raise InputMissing(f"{place} has no {path}{suggestion(name, public) or '.'}")
        found = getattr(found, name)
    return found


def _make(target: Any, args: dict[str, Any], source: str) -> Any:
    if isinstance(target, torch.nn.Module) or not callable(target):
        if args:
            raise UsageError(f"{source} is a {type(target).__name__}, which takes no arguments; leave out {', '.join(args)}.")
        return target
    with contextlib.suppress(ValueError):  # some callables written in C don't tell their signature
        signature = inspect.signature(target)
        known = [name for name, parameter in signature.parameters.items() if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]
        try:
            signature.bind(**args)
        except TypeError as error:
            close = next((hint for key in args if key not in known and (hint := suggestion(key, known))), "")
            raise UsageError(f"{source}{signature} can't be called so: {error}{close}; give its arguments as key=value.") from None
    return _run(lambda: target(**args), f"calling {source}")


def _run(action: Any, doing: str) -> Any:
    try:
        return action()
    except (InputMissing, UsageError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({Path(last.filename).name}, line {last.lineno})"  # which says it itself
        raise SourceRejected(f"{doing[0].upper()}{doing[1:]} raised {type(error).__name__}: {first_line(error)}{where}.") from error


def load_into(module: torch.nn.Module, weights: Path | str, *, allow_pickle: bool) -> tuple[str, ...]:
    """Load a state dict from a safetensors file (or, when allowed, a pickle of plain tensors) into `module`. Returns notes on what was done.

    Raises InputMissing, or CheckpointRejected for a pickle that wasn't asked for, holds more than tensors, or belongs to another network.
    """
    path = Path(weights)
    try:
        data = read_whole(path, MAX_BYTES)
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give the weights as a safetensors file.") from None
    if data[:2] == b"PK" or data[:1] == b"\x80":
        state = _unpickle(path, allow_pickle)
    else:
        try:
            state = load_safetensors(data)
        except (SafetensorError, ValueError, KeyError, OverflowError) as error:
            raise CheckpointRejected(f"{path} is no whole safetensors file ({first_line(error)}).") from None
    notes: tuple[str, ...] = ()
    wanted = module.state_dict()
    if state and all(name.startswith("module.") for name in state) and not any(name.startswith("module.") for name in wanted):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        notes = ("the weights were saved from DataParallel: the prefix 'module.' was taken off their names",)
    load_weights(module, state, owner=type(module).__name__)
    return notes


def _unpickle(path: Path, allowed: bool) -> dict[str, torch.Tensor]:
    if not allowed:
        raise CheckpointRejected(
            f"{path} is a pickle, a format that can run code; safetensors was wanted. "
            "Save it with safetensors.torch.save_file, or ask for its plain tensors alone to be read (--allow-pickle)."
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what its many readers raise
        raise CheckpointRejected(f"{path} is damaged or holds more than tensors ({first_line(error)}); save the network's state_dict().") from None
    wrapper = next((name for name in _WRAPPERS if isinstance(loaded, dict) and isinstance(loaded.get(name), dict)), None)
    state = loaded[wrapper] if wrapper else loaded
    if not isinstance(state, dict) or not state or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()):
        raise CheckpointRejected(f"{path} holds a {type(state).__name__} that is no state dict (names of weights and their tensors).")
    return dict(state)
