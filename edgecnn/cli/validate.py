"""Check an artifact's golden answers here, step by step, and its accuracy on a collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._model import model_argument
from edgecnn.cli._on import on_option
from edgecnn.cli._options import engine_option, json_option, threads_option
from edgecnn.cli._trust import trust_options

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle
    from edgecnn.device.session import Session
    from edgecnn.device.validate import AccuracyReport, GoldenReport


@click.command(epilog="Example: edgecnn validate resnet8.edgecnn --data photos/test --min-accuracy 0.83")
@on_option(file="model", data="data")
@model_argument
@click.option("--data", type=click.Path(path_type=Path), help="Images with labels, to measure the accuracy on, e.g. photos/test.")
@click.option("--min-accuracy", type=float, metavar="SHARE", help="Least accuracy on --data, between 0 and 1, e.g. 0.83.")
@threads_option
@engine_option
@json_option
@trust_options
def command(
    file: Path, data: Path | None, min_accuracy: float | None, threads: int | None, engine: str, as_json: bool, trust_key: Path | None
) -> None:
    """Check that FILE gives its golden answers on this machine, and how accurate it is.

    Three steps are told apart: golden image to model input (exact), input to the host's outputs, input to the answers of the network that it
    was made from; each within the limits that the manifest states. Exit code 1 when one falls short.
    """
    from edgecnn.cli._options import note, put, put_json
    from edgecnn.device.model import unvalidated_notice
    from edgecnn.device.validate import check_golden
    from edgecnn.device.whole import check_whole
    from edgecnn.errors import UsageError
    from edgecnn.sign import open_trusted

    if min_accuracy is not None and not (data is not None and 0 <= min_accuracy <= 1):
        raise UsageError(f"--min-accuracy {min_accuracy:g} needs --data and lies between 0 and 1, e.g. 0.83.")
    with open_trusted(file, trust_key) as bundle:
        check_whole(bundle)
        spec = bundle.manifest.spec
        notice = unvalidated_notice(file, bundle.manifest)
        if notice:
            note(notice)
        session = _opened(bundle, engine, threads)
        golden = check_golden(bundle, session=session)
    if not as_json:
        put(f"{spec.name} {spec.version}, quantization {bundle.manifest.quantization}, {len(spec.labels)} labels")
        for line in _golden_lines(golden):
            put(line)
    accuracy = _measure_accuracy(session, data) if data is not None else None
    if as_json:
        put_json({**_facts(file, golden, accuracy), "validated": notice is None})
    elif accuracy is not None:
        from edgecnn.cli._accuracy import accuracy_lines

        for line in accuracy_lines(accuracy):
            put(line)
    _raise_failures(file, golden, accuracy, min_accuracy)


def _opened(bundle: Bundle, engine: str, threads: int | None) -> Session:
    """The graph as `run` would open it, but for golden answers that fall short, which are this command's result."""
    from edgecnn.cli._options import note
    from edgecnn.device.saturation import precise_for
    from edgecnn.device.session import open_session

    precise = None
    if engine == "ort":
        precise = precise_for(bundle)
    else:
        from edgecnn.device.choice import choose, precise_with

        chosen = choose(bundle, engine, threads=threads)
        engine, precise = chosen.engine, precise_with(bundle, chosen.engine)
        if chosen.told:
            note(f"{chosen.told}.")
    return open_session(bundle.graph_source(), bundle.manifest.spec, threads=threads, precise=precise, engine=engine)


def _measure_accuracy(session: Session, data: Path) -> AccuracyReport:
    from edgecnn.cli._progress import progress_line
    from edgecnn.data.collection import open_collection
    from edgecnn.device.validate import accuracy

    spec = session.spec
    collection = open_collection(data, labels=spec.labels)
    with progress_line() as show:
        return accuracy(session, collection, spec, lambda done, total: show(f"{done} of {total} images"), threads=session.engine.threads)


def _golden_lines(report: GoldenReport) -> list[str]:
    from edgecnn.cli._options import columns

    rows = [("step", "samples", "largest difference", "limit", "result")]
    for step in report.steps:
        alike = f", {step.agreeing} of {step.samples} decide alike" if step.agreeing is not None else ""
        rows.append((step.name, str(step.samples), f"{step.max_abs:.3g}", step.limit, ("pass" if step.passed else "FAIL") + alike))
    lines = list(columns(rows, right=(1, 2)))
    return lines + [f"FAIL {step.name}: {failure}" for step in report.steps for failure in step.failures]


def _facts(file: Path, golden: GoldenReport, accuracy: AccuracyReport | None) -> dict[str, Any]:
    from dataclasses import asdict

    facts: dict[str, Any] = {
        "schema": 1,
        "file": str(file),
        "golden": {"passed": golden.passed, "steps": [{**asdict(step), "passed": step.passed} for step in golden.steps]},
    }
    if accuracy is not None:
        facts["accuracy"] = {
            **asdict(accuracy),
            "top1": accuracy.top1,
            "interval": accuracy.interval,
            "per_label": [{**asdict(c), "precision": c.precision, "recall": c.recall, "f1": c.f1} for c in accuracy.per_label],
        }
    return facts


def _raise_failures(file: Path, golden: GoldenReport, accuracy: AccuracyReport | None, min_accuracy: float | None) -> None:
    from edgecnn.errors import AccuracyFailed, ParityFailed

    failed = next((step for step in golden.steps if not step.passed), None)
    if failed is not None:
        raise ParityFailed(f"{file} falls short in the step {failed.name}: {failed.message}.")
    if accuracy is not None and min_accuracy is not None and accuracy.top1 < min_accuracy:
        raise AccuracyFailed(f"{file} decides {accuracy.top1:.2%} of {accuracy.count} images right, {min_accuracy:.2%} was wanted.")
