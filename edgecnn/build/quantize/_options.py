"""The options of a quantizer, as its `quantize` states them itself: the keyword-only part of its signature.

They are read from the source, so that a command's help knows them without importing what a quantizer needs. A default is a literal, and an
annotation one of bool, int, float, Literal["...", ...] and tuple[str, ...].
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact.codec import suggestion
from edgecnn.artifact.records import Scalar
from edgecnn.errors import UsageError

Value = str | bool | int | float | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """kind: bool, int, float, choice or names; choices: the words of a choice."""

    name: str
    kind: str
    default: Value
    choices: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The default, for people; "" for no names."""
        text = str(as_scalars({self.name: self.default})[self.name])
        return text.lower() if self.kind == "bool" else text

    @property
    def values(self) -> str:
        """What it takes, for people."""
        return {"bool": "true|false", "int": "NUMBER", "float": "NUMBER", "names": "NAME,NAME,..."}.get(self.kind, "|".join(self.choices))


def declared(module: Path) -> tuple[Option, ...]:
    """The options of the quantizer whose source file is `module`, in its order."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    arguments = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "quantize").args
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return tuple(_option(argument, default) for argument, default in pairs)


def _option(argument: ast.arg, default: ast.expr | None) -> Option:
    assert argument.annotation is not None
    assert default is not None
    value, text = ast.literal_eval(default), ast.unparse(argument.annotation)
    if isinstance(argument.annotation, ast.Subscript) and text.startswith("Literal["):
        words = ast.literal_eval(argument.annotation.slice)
        return Option(name=argument.arg, kind="choice", default=value, choices=tuple(words))
    return Option(name=argument.arg, kind={"tuple[str, ...]": "names"}.get(text, text), default=value)


def complete(quantizer: str, options: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Value]:
    """A value for every option: the given one, of its type or as text, else its default. Raises UsageError for an unknown name or a bad value."""
    names = [option.name for option in options]
    for name in given:
        if name not in names:
            there = f"there are {', '.join(names)}" if names else "it has none"
            raise UsageError(f"{quantizer} has no option {name}{suggestion(name, names)}; {there}.")
    return {option.name: _read(option, given[option.name]) if option.name in given else option.default for option in options}


def _read(option: Option, value: Any) -> Value:
    found = _parse(option, value.strip() if isinstance(value, str) else value)
    if found is None:
        near = suggestion(value, option.choices) if isinstance(value, str) else ""
        raise UsageError(f"{option.name} is {value!r}{near}; {option.values} was wanted.")
    return found


def _parse(option: Option, value: Any) -> Value | None:
    if option.kind == "bool":
        return {"true": True, "false": False}.get(str(value).lower()) if isinstance(value, (str, bool)) else None
    if option.kind in ("int", "float"):
        return _number(value, whole=option.kind == "int")
    if option.kind == "names":
        return _names(value)
    return value if isinstance(value, str) and value in option.choices else None


def _number(value: Any, *, whole: bool) -> int | float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if not math.isfinite(number) or (whole and number != int(number)) else int(number) if whole else number


def _names(value: Any) -> tuple[str, ...] | None:
    parts: Iterable[Any] = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [None]
    names = tuple(dict.fromkeys(part.strip() if isinstance(part, str) else "" for part in parts))
    return () if names == ("",) and value == "" else None if "" in names else names


def as_scalars(values: Mapping[str, Value]) -> dict[str, Scalar]:
    """The values as a record keeps them: names with commas between them. `complete` takes them back."""
    return {name: ",".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
