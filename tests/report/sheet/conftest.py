"""Sheets with everything on them, of small models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact.records import EpochMetrics
from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.data.collection import Item
from edgecnn.device.bench.report import BenchReport
from edgecnn.report.about import About
from edgecnn.report.mistakes import with_pictures
from edgecnn.report.sheet import Sheet, gather
from edgecnn.report.study import Study, study
from edgecnn.report.subject import read_artifact
from edgecnn.report.timing import Timing
from tests.fixtures.artifacts import COLORS, color_artifact, color_spec, solid, tiny_artifact
from tests.fixtures.graphs import color_classifier

MakeSheet = Callable[..., Sheet]


@dataclass(frozen=True)
class Colors:
    """Nine images of one colour each; the fifth, a green one, shows blue."""

    labels: tuple[str, ...] = COLORS
    multi_label: bool = False

    def __len__(self) -> int:
        return 9

    def __iter__(self) -> Iterator[Item]:
        for number in range(9):
            shown = COLORS[2 if number == 4 else number // 3]
            yield Item(name=f"{number}<b>.png", source=solid(shown, (20 + number, 30)), target=(number // 3,))


def timing(samples_ns: tuple[int, ...], **changed: Any) -> Timing:
    report = BenchReport(
        name="colors.edgecnn",
        batch=1,
        provider="CPUExecutionProvider",
        threads=1,
        load_ns=5_000_000,
        first_ns=2_000_000,
        process_peak_mib=70.5,
        warmup=20,
        min_seconds=0.5,
        min_runs=100,
        interrupted=False,
        samples_ns=samples_ns,
    )
    return Timing(report=report, machine="a <b>chip</b>, 2 of 4 cores", layers=changed.get("layers", {}), others=changed.get("others", {}))


HISTORY = tuple(
    EpochMetrics(
        epoch=n,
        loss=2 / n,
        accuracy=1 - 0.5 / n,
        learning_rate=0.1,
        validation_loss=2.2 / n if n > 1 else None,
        validation_accuracy=0.4 if n > 1 else None,
    )
    for n in range(1, 6)
)


def studied(path: Path, collection: Any, **options: Any) -> Study:
    from dataclasses import replace

    found = study(path, read_artifact(path), collection, name="nine <i>images</i>", threads=1, **options)
    return replace(found, mistakes=with_pictures(found.mistakes, collection))


@pytest.fixture
def make_sheet(tmp_path: Path) -> MakeSheet:
    """make_sheet(task="multi-label", ...): everything that a sheet may hold, of the model that tells colours apart."""

    def make(*, several: bool = False, full: bool = True, force: bool = False) -> Sheet:
        options = {"task": "multi-label", "thresholds": (0.5, 0.5, 0.5)} if several else {}
        path = color_artifact(tmp_path / "colors.edgecnn", force=force, **options)
        artifact = read_artifact(path)
        if not full:
            return gather(artifact)
        spec = color_spec(**options)
        twin = tiny_artifact(tmp_path / "colors-float32.edgecnn", spec=spec, model=color_classifier(scale=9.0))
        return gather(
            artifact,
            float32=read_artifact(twin),
            study=studied(path, Colors(multi_label=several), float32=twin),
            timing=timing((*(1_000_000 + 10_000 * (i % 9) for i in range(1200)), 90_000_000)),
            history=HISTORY,
            about=About(
                summary="Tells *colours* apart. <script>1</script>", sections={"Data": "Painted, ![x](http://127.0.0.1:9/x.png) [y](javascript:1)."}
            ),
        )

    return make


HOSTILE = "<script>document.title='taken'</script>\"'`|*_[x](javascript:1)<img src=x onerror=document.title=1>"


@pytest.fixture
def hostile_sheet(tmp_path: Path) -> Sheet:
    """Labels, node names, data and file names that try to be markup."""
    labels = tuple(f"{HOSTILE} {n}" for n in range(3))
    spec = make_spec(name="hostile", labels=labels, preprocess=Preprocess(size=(8, 8)))
    path = tiny_artifact(tmp_path / "<b>hostile<b>.edgecnn", spec=spec, model=_renamed(color_classifier()))
    found = studied(path, Colors(labels=labels))
    return gather(read_artifact(path), study=found, timing=timing((1_000_000,) * 200), about=About(summary=HOSTILE, sections={"Limits": HOSTILE}))


def _renamed(model: bytes) -> bytes:
    import onnx

    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        node.name = f"{HOSTILE} {node.name}"
    written: bytes = proto.SerializeToString(deterministic=True)
    return written
