"""What `edgecnn blame` prints: the verdict, then a row a stage, then the worst layers, as tables on a terminal and in plain columns elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from edgecnn.build.blame import Blame, Cure, LayerRow, StageRow, blame
from edgecnn.build.blame.records import TensorRow, decibels_text, number_text
from edgecnn.build.chatter import chatter_to_log
from edgecnn.cli._options import columns, note, put, put_json, shown
from edgecnn.cli._progress import progress_line
from edgecnn.device.differences import Differences
from edgecnn.errors import ParityFailed, UsageError

_STAGES = ("stage", "graph", "largest diff", "mean diff", "SQNR", "cosine", "alike", "KL (nats)", "SQNR to prev.", "limit", "result")
_LAYERS = ("layer", "operator", "SQNR of logits", "weights only", "output only")
_TENSORS = ("tensor", "of layer", "SQNR", "arriving", "values", "range", "scale", "zero point", "saturated")
_CURES = ("SQNR", "alike", "enough", "--config")

# what a narrow terminal does without, the first one first
_STAGES_SPARE = ("limit", "SQNR to prev.", "graph", "KL (nats)", "cosine", "mean diff")
_TENSORS_SPARE = ("zero point", "scale", "of layer", "arriving")


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
        raise ParityFailed(found.short)


def _print(found: Blame, most: int) -> None:
    put(shown(found.verdict))
    images = f"{found.images} images of --data" if found.origin == "data" else f"{found.images} golden images"
    put("")
    put(f"by stage, against the source network, on {images}:")
    left = _table(_STAGES, [_stage_cells(row) for row in found.stages], spare=_STAGES_SPARE)
    before: tuple[str, ...] = ()
    fed_wrongly = found.culprit is not None and found.culprit.stage == "preprocessing"  # then the rest may be right on the right inputs
    for row in found.stages:
        for failure in row.failures if row.failures != before else ():  # what one stage spoils, all after it show
            put(shown(f"FAIL {row.stage}: {failure}"))
        before = row.failures
        if row.advice and row is not found.culprit and not fed_wrongly:  # the culprit's is in the verdict
            put(shown(f"to do, {row.stage}: {row.advice}"))
    for row in found.stages:
        if row.note and row.made != "rebuilt alike":
            note(f"note: {row.stage}: {row.note}.")
    for change in found.changed:
        put(shown(f"otherwise: {change}"))
    if found.layers and most:
        left += _print_layers(found, most)
    if found.cures:
        _print_cures(found)
    for text in found.notes:
        note(f"note: {text}.")
    if left:
        note(f"note: the terminal is too narrow for {', '.join(dict.fromkeys(left))}; make it wider, or send this to a file.")


def _print_layers(found: Blame, most: int) -> tuple[str, ...]:
    rows = found.layers[:most]
    put("")
    put(f"by layer, each alone quantized, on {found.layer_images} images, the {len(rows)} worst of {len(found.layers)}:")
    left = _table(_LAYERS, [_layer_cells(row) for row in rows])
    put("")
    put("their tensors:")
    left += _table(_TENSORS, [_tensor_cells(tensor, row) for row in rows for tensor in row.tensors if tensor.kind != "bias"], spare=_TENSORS_SPARE)
    advice = [(row.layer, str(said)) for row in found.layers for said in row.advice]
    put("")
    for layer, said in advice:
        put(shown(f"{layer}: {said}"))
    if not advice:
        put("no layer stands out.")
    return left


def _print_cures(found: Blame) -> None:
    put("")
    tried = any(cure.found for cure in found.cures[1:])
    how = f"tried on these {found.layer_images} images" if tried else "not tried, for want of the images that it was calibrated with"
    put(f"what it may be exported with instead, {how}:")
    _table(_CURES, [_cure_cells(cure) for cure in found.cures])


def _cure_cells(cure: Cure) -> tuple[str, ...]:
    config = cure.config or "(as it is)"
    if cure.found is None:
        return ("-", "-", "-", config)
    return (decibels_text(cure.found.sqnr_db), f"{cure.found.agreeing} of {cure.found.samples}", "yes" if cure.enough else "no", config)


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
    return number_text(low) if low == high else f"{number_text(low)} to {number_text(high)}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> tuple[str, ...]:
    """Aligned columns; on a terminal with colours, and without those of `spare` that don't fit, which are returned."""
    console, kept, left = Console(file=sys.stdout), list(range(len(headings))), []
    cells = [[shown(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for name in spare if console.is_terminal else ():
        if sum(widths[place] for place in kept) + 2 * (len(kept) - 1) > console.width:
            kept.remove(headings.index(name))
            left.append(name)
    lines = columns([[row[place] for place in kept] for row in cells])
    if not console.is_terminal:
        for line in lines:
            put(line)
        return ()
    for number, line in enumerate(lines):
        text = Text(line, style="bold" if number == 0 else "")
        text.highlight_words(("FAIL",), "bold red")
        text.highlight_words(("unknown", "rebuilt otherwise"), "yellow")
        console.print(text, soft_wrap=True)
    return tuple(left)


def _facts(found: Blame) -> dict[str, Any]:
    return {
        "schema": 1,
        **asdict(found),
        "passed": found.passed,
        "verdict": found.verdict,
        "culprit": found.culprit.stage if found.culprit is not None else None,
        "entered": found.entered.stage if found.entered is not None else None,
        "stages": [dict(_stage_facts(row)) for row in found.stages],
        "cures": [{**asdict(cure), "found": _measured(cure.found)} for cure in found.cures],
    }


def _stage_facts(row: StageRow) -> Iterator[tuple[str, Any]]:
    measured = {name: _measured(getattr(row, name)) for name in ("against_previous", "against_source")}
    yield from {**asdict(row), **measured}.items()
    yield "passed", row.passed


def _measured(found: Differences | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "agreement": found.agreement}
