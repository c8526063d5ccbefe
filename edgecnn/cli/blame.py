"""Find the stage and the layer where an artifact's answers leave its network's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import model_argument
from edgecnn.cli._options import json_option, require_extra
from edgecnn.cli._source import PATH, source_options


@click.command(epilog="Example: edgecnn blame mine.edgecnn --reference runs/mine/model.safetensors --data photos/others --calibration photos/some")
@model_argument
@click.option(
    "--reference",
    required=True,
    metavar="SOURCE",
    shell_complete=_complete.path,
    help="What FILE was exported from: a checkpoint, an .onnx, ..., e.g. net.onnx.",
)
@click.option("--data", type=PATH, metavar="DATA", help="Images to compare answers on, e.g. photos/others.  [default: FILE's few golden ones]")
@click.option(
    "--calibration",
    type=PATH,
    metavar="DATA",
    help="The images that int8's ranges were measured on, to quantize again and try other options, e.g. photos/some.",
)
@click.option("--images", type=int, default=256, show_default=True, metavar="N", help="How many of --data at most, e.g. 1000.")
@click.option(
    "--layers", type=int, default=10, show_default=True, metavar="N", help="How many of the worst layers to show, e.g. 100; 0 measures none."
)
@click.option("--min-sqnr", type=float, default=15.0, show_default=True, metavar="DB", help="Least SQNR of a quantized graph's logits, e.g. 20.")
@click.option("--preprocess", metavar="SPEC", help="How SOURCE wants its images, as for export, e.g. imagenet.  [default: what SOURCE says itself]")
@source_options
@json_option
def command(file: Path, reference: str, layers: int, as_json: bool, **options: Any) -> None:
    """Find the first stage where FILE's answers leave those of SOURCE, and of a quantized graph the layers that cost most.

    The stages are preprocessing, the exported graph, the simplified one, the quantized one, the same as onnxruntime optimizes it, and the file
    opened again. All but the file are made again from SOURCE as FILE's report states it; what comes out otherwise is told. Where int8 is to blame
    and --calibration is there, other options of the quantizer are tried on the same images. Exit code 1 when a stage falls short.
    """
    with require_extra("export"):
        from edgecnn.cli._blame import run_blame

        run_blame(file, reference, layers=layers, as_json=as_json, **options)
