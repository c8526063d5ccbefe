"""The stages of a network as pictures and sentences, of one model or of two side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.report.explain import pictures
from edgecnn.report.explain.embedding import Embedder
from edgecnn.report.explain.network import Agreement
from edgecnn.report.explain.numbers import Json, Numbers
from edgecnn.report.explain.pairs import Apart, apart, pairs, taken_back
from edgecnn.report.explain.stages import Stage
from edgecnn.report.explain.subject import Picture, Run
from edgecnn.report.explain.words import describe, say
from edgecnn.report.formulas import Array
from edgecnn.report.page import png_uri

_MAPS, _FEW, _FEWEST = 64, 32, 4
"""Maps that a stage shows at most, of a stage with more of them, and at least however large they are."""
_PIXELS = 100_000
"""Of the maps of a stage, of all images together."""
_COLUMNS = 32
"""Numbers in a row of a picture of a vector."""
_COLORS = {"RGB": ("red", "green", "blue"), "BGR": ("blue", "green", "red"), "L": ("grey",)}


class Layers:
    """The stages of one image. runs: one model's, or two; number: the image's; images: how many share the page.

    rows: what the template shows, a stage (or a pair of them) each; scripts: what the script knows of each model's stages, by "1a".
    """

    def __init__(self, number: int, picture: Picture, runs: Sequence[Run], numbers: Numbers, *, images: int) -> None:
        self._runs, self._picture = runs, picture
        self._room = _PIXELS // images
        self._names = _COLORS[runs[0].subject.spec.preprocess.channels]
        self._channels_order = runs[0].subject.spec.preprocess.channels
        self._keys = [f"{number}{one.letter}" for one in runs]
        self._embedders = [
            Embedder(one.subject.network, one.values, numbers, image=key, model=one.letter) for one, key in zip(runs, self._keys, strict=True)
        ]
        self.scripts: dict[str, list[Json]] = {key: [{} for _ in one.subject.stages] for key, one in zip(self._keys, runs, strict=True)}
        self.rows: list[Json] = []
        for order in self._order():
            self.rows.append({**self._row(order), "number": len(self.rows)})

    def _order(self) -> list[list[tuple[int, int]]]:
        """Rows of (run, stage): the first model's stages in order, each with its twin; what only the second has stands before its next twin."""
        first = range(len(self._runs[0].subject.stages))
        if len(self._runs) == 1:
            return [[(0, place)] for place in first]
        ours, theirs = self._runs
        twins = pairs(ours.subject.stages, theirs.subject.stages, ours.values, theirs.values)
        alone = [place for place in range(len(theirs.subject.stages)) if place not in twins.values()]
        rows: list[list[tuple[int, int]]] = []
        for place in first:
            twin = twins.get(place)
            while twin is not None and alone and alone[0] < twin:
                rows.append([(1, alone.pop(0))])
            rows.append([(0, place)] if twin is None else [(0, place), (1, twin)])
        return rows + [[(1, place)] for place in alone]

    def _row(self, sides: list[tuple[int, int]]) -> Json:
        runs = [self._runs[side] for side, _ in sides]
        stages = [one.subject.stages[place] for one, (_, place) in zip(runs, sides, strict=True)]
        arrays = [one.values[stage.shown][:1] for one, stage in zip(runs, stages, strict=True)]
        words = [describe(stage, one.values, rounds_pixels=_rounds_pixels(stage, one)) for one, stage in zip(runs, stages, strict=True)]
        channels, most = self._shown(arrays[0]), max(map(pictures.strongest, arrays))
        made = [self._side(side, place, words[i].title, channels, most) for i, (side, place) in enumerate(sides)]
        if len(sides) == 2:
            for (side, place), (other, twin) in (sides, sides[::-1]):
                self.scripts[self._keys[side]][place]["twin"] = f"{self._keys[other]}:{twin}"
        lines = list(words[0].lines)
        row: Json = {
            "title": words[0].title,
            "name": stages[0].name,
            "role": stages[0].role,
            "shape": words[0].shape,
            "only": runs[0].subject.kind if len(self._runs) > 1 and len(sides) == 1 else None,
            "apart": None,
            "total": int(arrays[0].shape[1]) if _is_maps(arrays[0]) else None,
            "range": _range(arrays[0]),
            "checks": _checks(stages, runs),
        }
        if len(sides) == 2:
            lines += _other_lines(runs[1].subject.kind, words[0].title, words[0].lines, words[1].title, words[1].lines)
            theirs, scaled = taken_back(*arrays)
            found = apart(arrays[0], theirs)
            hidden = any(one.subject.equalized for one in runs) and _hidden(self._runs[0].subject.stages, sides[0][1])
            row["apart"] = _HIDDEN if hidden else _apart(found)
            if scaled:
                lines.append(_scaled(scaled, arrays[0].shape[1], runs[1].subject.kind, runs[0].subject.kind))
            if found.largest == 0 and made[0] is not None:
                made = [{**made[0], "label": f"{runs[0].subject.kind} and {runs[1].subject.kind}"}]
            if found.largest > 0 and found.sqnr_db is not None:
                difference = theirs.astype(np.float64) - arrays[0].astype(np.float64)
                made.append(_pictured(difference, channels, found.largest, label=f"{runs[1].subject.kind} less {runs[0].subject.kind}"))
        return {**row, "lines": lines, "sides": [side for side in made if side is not None]}

    def _shown(self, value: Array) -> tuple[int, ...]:
        """Which channels are shown: all where there is room, else those that vary most, in their order."""
        if not _is_maps(value):
            return tuple(range(value.shape[1] if value.ndim > 1 else 1))
        count, size = value.shape[1], value.shape[2] * value.shape[3]
        room = min(_MAPS if count <= _MAPS else _FEW, max(_FEWEST, self._room // size))
        if count <= room:
            return tuple(range(count))
        varying = np.nan_to_num(value[0].astype(np.float64)).std(axis=(1, 2))
        return tuple(sorted(np.argsort(-varying, kind="stable")[:room].tolist()))

    def _side(self, side: int, place: int, title: str, channels: tuple[int, ...], most: float) -> Json | None:
        """The pictures of one model's stage; None where it has too many axes for one. Notes what the script needs for it."""
        one, key = self._runs[side], self._keys[side]
        stage = one.subject.stages[place]
        value = one.values[stage.shown][:1]
        if stage.role == "input":
            script = self._embedders[side].input(stage, self._picture.pixels, one.subject.spec.preprocess)
        else:
            script = self._embedders[side].stage(place, stage, _strongest_first(value, channels))
        self.scripts[key][place] = {**script, "most": most, "title": f"{len(self.rows)}. {title}"}
        touch = f"{key}:{place}" if script["kind"] != "none" else ""
        points = [tuple(point["at"]) for point in script.get("points", ())]
        made = _pictured(value, channels, most, label=one.subject.kind if len(self._runs) > 1 else "", key=touch, points=points)
        if made is not None and len(self._names) == len(channels) and (stage.role == "input" or _rounds_pixels(stage, one)):
            for shown, name in zip(made["maps"], self._names, strict=True):
                shown["name"] = name
        if made is not None and stage is _first_convolution(one) and stage.weight is not None:
            weight = one.values[stage.weight]
            filters = [png_uri(pictures.filter_picture(one, self._channels_order)) for one in weight]
            for shown in made["maps"]:
                shown["filter"] = filters[shown["channel"]]
            made["others"] = [(channel, uri) for channel, uri in enumerate(filters) if channel not in channels]
        return made


def _first_convolution(one: Run) -> Stage | None:
    """The first convolution, where it looks at the image's own channels, so that its filters are pictures too."""
    stage = next((stage for stage in one.subject.stages if stage.role == "conv"), None)
    if stage is None or stage.weight is None:
        return None
    weight = one.values[stage.weight]
    return stage if weight.ndim == 4 and weight.shape[1] == one.subject.spec.preprocess.depth else None


def _rounds_pixels(stage: Stage, one: Run) -> bool:
    return stage.role == "rounding" and stage.raw == one.subject.network.input


def _is_maps(value: Array) -> bool:
    return value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def _pictured(
    value: Array, channels: tuple[int, ...], most: float, *, label: str, key: str = "", points: Sequence[tuple[int, int, int]] = ()
) -> Json | None:
    """Numbers of one input as pictures: a map for each channel, or a row of cells. key: by which the script knows them, "" for not at all."""
    base: Json = {"label": label, "key": key, "most": say(most), "kind": "maps", "others": []}
    if _is_maps(value):
        height, width = value.shape[2:]
        maps = [
            {
                "uri": pictures.map_uri(value[0, channel], most),
                "channel": channel,
                "name": channel,
                "filter": None,
                "points": [(row, column) for at, row, column in points if at == channel],
            }
            for channel in channels
        ]
        return {**base, "maps": maps, "width": width, "height": height, "wide": _wide(width)}
    if value.ndim > 4:
        return None
    cells = value[0] if value.ndim == 3 else _in_rows(value.reshape(-1))
    one = {"uri": pictures.map_uri(cells, most), "channel": 0, "name": "", "filter": None, "points": []}
    height, width = cells.shape
    found = {**base, "maps": [one], "width": width, "height": height}
    if value.ndim == 3:
        return {**found, "wide": min(640, max(96, 4 * width))}
    return {**found, "kind": "cells", "count": value.size, "wide": 18 * width}


def _in_rows(row: Array) -> Array:
    columns = min(_COLUMNS, len(row))
    cells = np.full(-(-len(row) // columns) * columns, np.nan)
    cells[: len(row)] = row
    return cells.reshape(-1, columns)


def _strongest_first(value: Array, channels: tuple[int, ...]) -> tuple[int, ...]:
    if value.ndim not in (2, 4):
        return channels
    highest = np.nan_to_num(value[0].astype(np.float64).reshape(value.shape[1], -1)).max(axis=1)
    return tuple(sorted(channels, key=lambda channel: -highest[channel]))


def _wide(width: int) -> int:
    """Pixels of a map on the page."""
    return next((wide for most, wide in ((8, 64), (16, 76), (32, 96), (64, 112)) if width <= most), 168)


def _range(value: Array) -> str:
    finite = value[np.isfinite(value)]
    return f"{say(float(finite.min()))} to {say(float(finite.max()))}" if finite.size else "no finite number"


def _checks(stages: Sequence[Stage], runs: Sequence[Run]) -> list[Json]:
    """What came of computing the stages' formulas again, in a sentence for both where it is the same."""
    found = [(one.subject.kind, one.agreements[stage.raw]) for stage, one in zip(stages, runs, strict=True) if stage.node is not None]
    told = {kind: (_check_text(check), check.close) for kind, check in found if check is not None}
    if len(set(told.values())) == 1:
        ((text, close),) = set(told.values())
        return [{"text": f"{text[0].upper()}{text[1:]}", "close": close}]
    return [{"text": f"In {kind}, {text}", "close": close} for kind, (text, close) in told.items()]


def _check_text(found: Agreement) -> str:
    if found.apart == 0:
        return "computed again from its formula: the same numbers as onnxruntime's, to the bit."
    return f"computed again from its formula: at most {say(found.apart, 2)} from onnxruntime's numbers, the largest of which is {say(found.scale)}."


def _other_lines(kind: str, title: str, lines: Sequence[str], other: str, others: Sequence[str]) -> list[str]:
    """What is otherwise in the second model."""
    different = [line for line in others if line not in lines] if other == title else [f"{other}. {others[0]}", *others[1:]]
    return [f"In {kind}: {line}" for line in different]


_HIDDEN: Json = {
    "text": "Not compared: each unit may be scaled by a factor of its own in int8, so that weights span alike; the next layer takes it back.",
    "sqnr": None,
}


def _hidden(stages: Sequence[Stage], place: int) -> bool:
    """Whether a stage is of fully connected units that another layer reads."""
    linear = [number for number, stage in enumerate(stages) if stage.role == "linear"]
    return bool(linear) and linear[0] <= place < linear[-1]


def _scaled(count: int, channels: int, kind: str, other: str) -> str:
    verb = "is" if count == 1 else "are each"
    return (
        f"{count} of {channels} channels {verb} those of {other} times a factor of their own in {kind}, so that weights span alike; the next layer "
        "takes it back, and so does the difference shown here."
    )


def _apart(found: Apart) -> Json:
    if found.largest == 0:
        return {"text": "Both have the same numbers here.", "sqnr": None}
    if found.sqnr_db is None:
        return {"text": "One of the two has NaN or infinity here, so they can't be compared.", "sqnr": None}
    return {
        "text": f"They differ by at most {say(found.largest)}, where the largest number is {say(found.most)}: "
        f"the numbers stand {found.sqnr_db:.1f} dB above their difference.",
        "sqnr": found.sqnr_db,
    }
