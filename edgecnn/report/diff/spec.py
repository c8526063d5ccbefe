"""What two models say of themselves: preprocessing, labels, task, and where they come from."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecnn.artifact.codec import encode
from edgecnn.artifact.manifest import Manifest, Report
from edgecnn.artifact.records import Stage
from edgecnn.artifact.spec import ModelSpec, Preprocess
from edgecnn.report.diff.records import Change, LabelChanges, Placed


def compare_preprocess(a: Preprocess, b: Preprocess) -> tuple[Change, ...]:
    return tuple(_differing(encode(a), encode(b)))


def compare_task(a: ModelSpec, b: ModelSpec) -> tuple[Change, ...]:
    """Task, activation, and the thresholds of labels that both know."""
    found = list(_differing({"task": a.task, "activation": a.postprocess.activation}, {"task": b.task, "activation": b.postprocess.activation}))
    sides = [dict(zip(spec.labels, spec.postprocess.thresholds or (), strict=False)) for spec in (a, b)]
    both = [label for label in a.labels if label in sides[0] and label in sides[1]]
    return (*found, *_differing(*({f"threshold of {label}": side[label] for label in both} for side in sides)))


def compare_labels(a: Sequence[str], b: Sequence[str]) -> LabelChanges:
    """Which are new, gone, called otherwise in their place, and which stand elsewhere among those that stay."""
    places_a, places_b = ({label: at for at, label in enumerate(labels)} for labels in (a, b))
    # what stands in b at each label of a: itself, or where it is gone a new one in its place
    goes = {label: label for label in a if label in places_b}
    if len(a) == len(b):
        goes |= {label: b[at] for at, label in enumerate(a) if label not in places_b and b[at] not in places_a}
    staying = [label for label in a if label in goes]
    kept = {staying[at] for at in _longest_rising([places_b[goes[label]] for label in staying])}
    called = {old: new for old, new in goes.items() if old != new and old in kept}
    return LabelChanges(
        count_a=len(a),
        count_b=len(b),
        added=tuple(Placed(label=label, a=None, b=at) for at, label in enumerate(b) if label not in places_a and label not in called.values()),
        removed=tuple(Placed(label=label, a=at, b=None) for at, label in enumerate(a) if label not in places_b and label not in called),
        renamed=tuple((places_a[old], old, new) for old, new in called.items()),
        moved=tuple(Placed(label=label, a=at, b=places_b[label]) for at, label in enumerate(a) if label in places_b and label not in kept),
    )


def _longest_rising(numbers: Sequence[int]) -> list[int]:
    """The positions of a longest rising subsequence. M. L. Fredman (1975), Discrete Mathematics 11:29-35."""
    tails: list[int] = []
    at_tail: list[int] = []
    before: list[int | None] = []
    for at, number in enumerate(numbers):
        place = bisect.bisect_left(tails, number)
        before.append(at_tail[place - 1] if place else None)
        tails[place : place + 1] = [number]
        at_tail[place : place + 1] = [at]
    found: list[int] = []
    last = at_tail[-1] if at_tail else None
    while last is not None:
        found.append(last)
        last = before[last]
    return found[::-1]


# What changes no answer


def compare_release(a: ModelSpec, b: ModelSpec, *, sequence: bool) -> tuple[Change, ...]:
    """sequence: whether both state theirs."""
    sides = [{"name": spec.name, "version": spec.version, **({"sequence": spec.sequence} if sequence else {})} for spec in (a, b)]
    return tuple(_differing(*sides))


def compare_proof(a: Manifest, b: Manifest) -> tuple[Change, ...]:
    """Whether it was proved, against what, and what a device's answers may differ by."""
    return tuple(_differing(_proof(a), _proof(b)))


def _proof(manifest: Manifest) -> dict[str, Any]:
    parity = manifest.parity
    facts = {"validated": manifest.validated, **{f"limits.{name}": value for name, value in _flat(encode(manifest.limits))}}
    if parity is not None:
        facts |= {"compared with": parity.reference, "samples": parity.samples, "agreeing": parity.agreeing, "largest difference": parity.max_abs}
    return facts


def compare_provenance(a: tuple[Manifest, Report], b: tuple[Manifest, Report]) -> tuple[Change, ...]:
    """Versions of tools, licences, golden images, and each stage with its configuration."""
    return tuple(_differing(_provenance(*a), _provenance(*b)))


def _provenance(manifest: Manifest, report: Report) -> dict[str, Any]:
    facts: dict[str, Any] = {"quantization": manifest.quantization, "edgecnn": manifest.edgecnn_version, **manifest.tools}
    facts |= {f"licence of the {of}": spdx for of, spdx in manifest.licenses.items()}
    facts |= {member.name: f"sha256 {member.sha256[:12]}" for member in manifest.members if member.name.endswith(".png")}
    for stage in report.stages:
        facts |= dict(_stage_facts(stage))
    return facts


def _stage_facts(stage: Stage) -> Iterator[tuple[str, Any]]:
    yield stage.name, "done"
    for name, value in stage.configuration.items():
        yield f"{stage.name}: {name}", value
    for tool, version in stage.tools.items():
        yield f"{stage.name}: {tool}", version
    if stage.note is not None:
        yield f"{stage.name}: note", stage.note


def compare_metadata(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Change, ...]:
    """Of bare graphs: the producer and metadata_props."""
    return tuple(_differing(a, b))


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    """In the order of a, then what only b has."""
    for name in [*a, *(name for name in b if name not in a)]:
        x, y = a.get(name), b.get(name)
        if not _same(x, y):
            yield Change(what=name, a=x, b=y)


def _same(x: Any, y: Any) -> bool:
    """Equal as JSON's values are: 1 is 1.0, but not true."""
    if isinstance(x, (list, tuple)) and isinstance(y, (list, tuple)):
        return len(x) == len(y) and all(map(_same, x, y))
    return isinstance(x, bool) == isinstance(y, bool) and bool(x == y)
