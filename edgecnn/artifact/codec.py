"""Frozen dataclasses to plain JSON or TOML values and back, strictly.

One codec serves the manifest (which ignores unknown fields, so that older devices read newer files)
and the recipes (which refuse them and guess what was meant).
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast

T = TypeVar("T")

_LONGEST_REASON = 600
MAX_VALUES, MAX_CONTAINERS = 150_000, 50_000
"""Of one JSON document: a report of 10,000 layers has fewer."""


class CodecError(ValueError):
    """A value that doesn't fit its type: `where` is its dotted path, the message says the rest."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where

    @property
    def sentence(self) -> str:
        """The message with its full stop, or the question mark of a guess."""
        text = str(self)
        return text if text.endswith("?") else f"{text}."


def encode(value: Any) -> Any:
    """A dataclass (or a tuple, mapping or scalar of them) as JSON-ready values; None fields are left out.

    Raises CodecError for NaN and infinities, which JSON has no words for.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: encode(item) for name, item in fields if item is not None}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise CodecError("value", f"{value} can't be stored")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def canonical_json(value: Any) -> bytes:
    """`encode(value)` as UTF-8 JSON: sorted keys, two spaces, one newline at the end; equal values give equal bytes."""
    text = json.dumps(encode(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def strict_json(data: bytes, *, max_values: int = MAX_VALUES) -> Any:
    """JSON without duplicate keys, NaN, absurd nesting, or so many values that they would take tens of times its size. Raises CodecError."""
    # counted before anything is made of them; those inside of texts count, too, which does no harm
    if data.count(b",") > max_values or data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        raise CodecError("document", f"it holds more than {max_values} values or {MAX_CONTAINERS} lists and objects, or is nested too deeply")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise CodecError("document", "it is nested too deeply") from None
    except CodecError:
        raise
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise CodecError("document", f"it is no JSON ({error})") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = sorted(key for key, _ in pairs)
        twice = next(key for key, following in itertools.pairwise(keys) if key == following)
        raise CodecError(twice[:80], "the key stands there twice")
    return result


def _no_constant(name: str) -> Any:
    raise CodecError("document", f"it holds {name}, which is no JSON number")


def check_texts(value: Any) -> None:
    """Raises CodecError for control characters in a text, anywhere in a document: they could forge what a terminal shows. Lines may end."""
    if isinstance(value, str):
        if not all(line.isprintable() for line in value.split("\n")):
            raise CodecError("document", f"the text {value[:40]!r} holds characters that can't be printed")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_texts(key)
            check_texts(item)
    elif isinstance(value, list):
        for item in value:
            check_texts(item)


def decode(kind: type[T], value: Any, *, where: str = "", unknown: Literal["ignore", "refuse"] = "ignore") -> T:
    """Build a `kind` (a dataclass or any type that its fields use) from JSON or TOML values.

    Whole numbers are taken where a float is wanted, nothing else is converted. Raises CodecError that
    names the field; a ValueError from a dataclass's own __post_init__ becomes one too.
    """
    return cast(T, _decode(kind, value, where or "document", unknown))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: Any, where: str, unknown: str) -> Any:
    if kind is Any:
        return value
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _decode_literal(kind, value, where)
    if origin in (Union, types.UnionType):
        return _decode_union(kind, value, where, unknown)
    if origin is tuple:
        return _decode_tuple(kind, value, where, unknown)
    if origin is not None and issubclass(origin, Mapping):
        return _decode_mapping(kind, value, where, unknown)
    if dataclasses.is_dataclass(kind):
        return _decode_record(cast(type, kind), value, where, unknown)
    return _decode_scalar(kind, value, where)


def _decode_literal(kind: Any, value: Any, where: str) -> Any:
    choices = typing.get_args(kind)
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    close = suggestion(str(value), [str(choice) for choice in choices])
    raise CodecError(where, f"{_show(value)} is none of {', '.join(map(str, choices))}{close}")


def _decode_union(kind: Any, value: Any, where: str, unknown: str) -> Any:
    members = typing.get_args(kind)
    if value is None and type(None) in members:
        return None
    failure: CodecError | None = None
    for member in members:
        if member is type(None):
            continue
        try:
            return _decode(member, value, where, unknown)
        except CodecError as error:
            failure = error
    raise failure or CodecError(where, f"{_show(value)} doesn't fit")


def _decode_tuple(kind: Any, value: Any, where: str, unknown: str) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise CodecError(where, f"a list was wanted, {_show(value)} was found")
    inner = typing.get_args(kind)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_decode(inner[0], item, f"{where}[{i}]", unknown) for i, item in enumerate(value))
    if len(inner) != len(value):
        raise CodecError(where, f"{len(inner)} values were wanted, {len(value)} were found")
    return tuple(_decode(k, item, f"{where}[{i}]", unknown) for i, (k, item) in enumerate(zip(inner, value, strict=True)))


def _decode_mapping(kind: Any, value: Any, where: str, unknown: str) -> Any:
    if not isinstance(value, Mapping):
        raise CodecError(where, f"a table was wanted, {_show(value)} was found")
    inner = typing.get_args(kind)[1]
    return {str(key): _decode(inner, item, f"{where}.{key}", unknown) for key, item in value.items()}


def _decode_record(kind: type, value: Any, where: str, unknown: str) -> Any:
    if not isinstance(value, Mapping):
        raise CodecError(where, f"a table was wanted, {_show(value)} was found")
    hints = _hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if unknown == "refuse":
        for key in value:
            if key not in fields:
                raise CodecError(f"{where}.{key}", f"there is no such key{suggestion(str(key), list(fields))}")
    missing = [
        name
        for name, field in fields.items()
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    absent = [name for name in missing if not _optional(hints[name])]
    if absent:
        raise CodecError(where, f"{absent[0]} is missing")
    found = {name: _decode(hints[name], value[name], f"{where}.{name}", unknown) for name in fields if name in value}
    found.update(dict.fromkeys(missing))
    try:
        return kind(**found)
    except CodecError:
        raise
    except ValueError as error:
        raise CodecError(where, str(error)) from None


def _optional(kind: Any) -> bool:
    return typing.get_origin(kind) in (Union, types.UnionType) and type(None) in typing.get_args(kind)


def _decode_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise CodecError(where, "the number is too large") from None
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise CodecError(where, f"{value} is no finite number")
    if type(value) is not kind:
        raise CodecError(where, f"{_NAMES.get(kind, getattr(kind, '__name__', kind))} was wanted, {_show(value)} was found")
    return value


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(word: str, known: Sequence[str]) -> str:
    """', did you mean X?' when a known word is close, else the empty text."""
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]}?" if close else ""


def brief(text: str) -> str:
    """A reason without its middle where it is long, because it quotes what was found."""
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON // 2]} ... {text[-_LONGEST_REASON // 2 :]}"
