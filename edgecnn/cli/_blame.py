"""What `edgecnn blame` prints: the verdict, then a row a stage, then the worst layers, as tables on a terminal and in plain columns elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgecnn.build.blame import Blame, LayerRow, StageRow, blame
from edgecnn.build.blame.records import TensorRow, decibels_text
from edgecnn.build.chatter import chatter_to_log
from edgecnn.cli._options import columns, note, put, put_json, shown
from edgecnn.cli._progress import progress_line
from edgecnn.errors import ParityFailed, UsageError

_STAGES = ("stage", "graph", "largest diff", "mean diff", "SQNR", "cosine", "alike", "KL, nats", "SQNR to prev.", "limit", "result")
_LAYERS = ("layer", "operator", "SQNR of logits", "weights only", "output only")
_TENSORS = ("tensor", "of layer", "SQNR", "arriving", "values", "range", "scale", "zero point", "saturated")


def run_blame(
    file: Path,
    reference: str,
    *,
    data: Path | None,
    calibration: Path | None,
    images: int,
    layers: int,
    min_sqnr: float,
    preprocess: str | None,
    as_json: bool,
    **source: Any,
) -> None:
    """source: how the reference is read. Raises ParityFailed where a stage falls short, once all is printed, and what build.blame.blame raises."""
    if layers < 0:
        raise UsageError(f"{layers} layers were asked for; 0 or more was wanted.")
    with progress_line() as tell, chatter_to_log():
        found = blame(
            file,
            reference,
            data=data,
            calibration=calibration,
            images=images,
            by_layer=layers > 0,
            min_sqnr_db=min_sqnr,
            preprocess=preprocess,
            tell=tell,
            **source,
        )
    if as_json:
        put_json(_facts(found))
    else:
        _print(found, layers)
    if not found.passed:
        raise ParityFailed(found.verdict)


def _print(found: Blame, most: int) -> None:
    put(shown(found.verdict))
    images = f"{found.images} images of --data" if found.origin == "data" else f"{found.images} golden images"
    put("")
    put(f"by stage, against the source network, on {images}:")
    _table(_STAGES, [_stage_cells(row) for row in found.stages])
    for row in found.stages:
        for failure in row.failures:
            put(shown(f"FAIL {row.stage}: {failure}"))
    for row in found.stages:
        if row.note and row.made != "rebuilt alike":
            note(f"note: {row.stage}: {row.note}.")
    for change in found.changed:
        put(shown(f"otherwise: {change}"))
    if found.layers and most:
        _print_layers(found, most)
    for text in found.notes:
        note(f"note: {text}.")


def _print_layers(found: Blame, most: int) -> None:
    rows = found.layers[:most]
    put("")
    put(f"by layer, each alone quantized, on {found.layer_images} images, the {len(rows)} worst of {len(found.layers)}:")
    _table(_LAYERS, [_layer_cells(row) for row in rows])
    put("")
    put("their tensors:")
    _table(_TENSORS, [_tensor_cells(tensor, row) for row in rows for tensor in row.tensors if tensor.kind != "bias"])
    advice = [(row.layer, said) for row in rows for said in row.advice]
    if advice:
        put("")
    for layer, said in advice:
        put(shown(f"to do, {layer}: {said}"))


def _stage_cells(row: StageRow) -> tuple[str, ...]:
    result = "FAIL" if row.failures else "pass" if row.judged else "unknown"
    source, before = row.against_source, row.against_previous
    if source is None:
        figures = ("-",) * 6
    else:
        figures = (
            f"{source.max_abs:.2g}",
            f"{source.mean_abs:.2g}",
            decibels_text(source.sqnr_db),
            f"{source.cosine:.6f}",
            f"{source.agreeing} of {source.samples}",
            f"{source.kl_divergence:.2g}",
        )
    return (row.stage, row.made or "-", *figures, "-" if before is None else decibels_text(before.sqnr_db), row.limit, result)


def _layer_cells(row: LayerRow) -> tuple[str, ...]:
    has = {tensor.kind for tensor in row.tensors if tensor.matched}
    parts = ((row.weights_sqnr_db, has & {"weight", "bias"}), (row.activations_sqnr_db, has & {"activation"}))
    return (row.layer, row.operator, decibels_text(row.sqnr_db) if has else "-", *(decibels_text(value) if there else "-" for value, there in parts))


def _tensor_cells(tensor: TensorRow, row: LayerRow) -> tuple[str, ...]:
    known = tensor.matched
    return (
        tensor.tensor,
        row.layer,
        decibels_text(tensor.sqnr_db) if known else "-",
        decibels_text(tensor.arriving_sqnr_db) if known and tensor.kind == "activation" else "-",
        _between(tensor.low, tensor.high),
        _between(tensor.range_low, tensor.range_high),
        "-" if tensor.scale is None else _between(*tensor.scale),
        "-" if tensor.zero_point is None else _between(*tensor.zero_point),
        "-" if tensor.saturated is None else f"{tensor.saturated:.2%}",
    )


def _between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "-"
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As rich draws it where that fits a terminal; plain columns elsewhere, so that other programs read whole cells."""
    cells = [[shown(cell) for cell in row] for row in rows]
    lines = list(columns([headings, *cells]))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        for line in lines:
            put(line)
        return
    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    console.print(table)


def _style(cell: str) -> str:
    return {"FAIL": "bold red", "pass": "green", "unknown": "yellow", "rebuilt otherwise": "yellow"}.get(cell, "")


def _facts(found: Blame) -> dict[str, Any]:
    return {
        "schema": 1,
        **asdict(found),
        "passed": found.passed,
        "verdict": found.verdict,
        "culprit": found.culprit.stage if found.culprit is not None else None,
        "entered": found.entered.stage if found.entered is not None else None,
        "stages": [dict(_stage_facts(row)) for row in found.stages],
    }


def _stage_facts(row: StageRow) -> Iterator[tuple[str, Any]]:
    facts = asdict(row)
    for name in ("against_previous", "against_source"):
        measured = getattr(row, name)
        if measured is not None:
            facts[name]["agreement"] = measured.agreement
    yield from facts.items()
    yield "passed", row.passed
