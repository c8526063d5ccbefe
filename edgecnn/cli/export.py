"""Turn a trained network into an artifact: export, simplify, quantize, prove, pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecnn.cli import _complete
from edgecnn.cli._options import json_option, memory_option, require_extra
from edgecnn.cli._source import PATH, pairs, source_options


def _quantizers() -> list[str]:
    """By their files' names, without importing any."""
    folder = Path(__file__).parent.parent / "build" / "quantize"
    return ["none", *sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")), "auto"]


class _Export(click.Command):
    """Its help ends with the quantizers' options, as they state them themselves."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        from edgecnn.build.quantize import names, options

        rows = [
            (f"{name}: {option.name}={option.values}", f"[default: {option.shown}]" if option.shown else "")
            for name in names()
            for option in options(name)
        ]
        with formatter.section("Options of quantizers, for --config"):
            formatter.write_dl(rows)


def _targets() -> str:
    folder = Path(__file__).parent.parent / "targets"
    return ", ".join(sorted(file.stem for file in folder.glob("*.toml")))


def _batch(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "dynamic":
        return value
    if not (value.isascii() and value.isdecimal() and int(value)):
        raise click.BadParameter(f"{value!r} is no batch; give a number from 1, or dynamic")
    return int(value)


@click.command(
    cls=_Export,
    epilog="Example: edgecnn export runs/mine/model.safetensors -o mine.edgecnn --quantize int8 --calibration photos/some --validation photos/others",
)
@click.argument("source", shell_complete=_complete.path)
@click.option("-o", "--output", required=True, type=PATH, metavar="FILE", help="The artifact to write, e.g. mine-1.0.0.edgecnn.")
@click.option("--quantize", type=click.Choice(_quantizers()), default="none", show_default=True, help="How to make it smaller and faster, e.g. int8.")
@click.option(
    "--config",
    metavar="KEY=VALUE",
    callback=pairs,
    multiple=True,
    help="An option of the quantizer, e.g. --config ranges=mse --config per_channel=false; all are listed below.",
)
@click.option(
    "--max-drop", type=float, metavar="POINTS", help="For --quantize auto: the points of accuracy that may be lost on --validation, e.g. 0.5."
)
@click.option(
    "--objective", type=click.Choice(["latency", "bytes"]), help="For --quantize auto: what is to be least, e.g. bytes.  [default: latency]"
)
@click.option("--threads", type=int, metavar="N", help="For --quantize auto: CPU threads that latency is measured on, e.g. 4.  [default: 1]")
@click.option(
    "--target",
    metavar="NAME|FILE",
    help=f"The device that it is for, e.g. rpi4 (there are {_targets()}), or what `edgecnn probe --json` wrote there.",
)
@click.option(
    "--recipe", type=PATH, metavar="FILE", help="With --quantize auto: write what was found, e.g. out.toml. Without: make that again, byte for byte."
)
@click.option("--calibration", type=PATH, metavar="DATA", help="Images to measure int8's ranges on, some hundred real ones, e.g. photos/some.")
@click.option("--calibration-images", type=int, default=300, show_default=True, metavar="N", help="How many of --calibration at most, e.g. 100.")
@click.option("--qat", type=PATH, metavar="DATA", help="Training images to fine-tune the int8 graph on, some thousand, e.g. photos/train.")
@click.option("--validation", type=PATH, metavar="DATA", help="Other images to prove it with, 300 or more, e.g. photos/others or photos.tar.gz.")
@click.option("--opset", type=int, metavar="N", help="ONNX operator set, 13 to 20, e.g. 17.  [default: 18, or an .onnx's own]")
@click.option("--batch", metavar="N|dynamic", callback=_batch, help="Images at a time, e.g. 1 or dynamic.  [default: 1, or the checkpoint's]")
@click.option("--name", metavar="TEXT", help="The model's name, e.g. flowers.  [default: the source's]")
@click.option("--model-version", "version", metavar="TEXT", help="The model's version, e.g. 1.2.0.")
@click.option("--sequence", type=int, metavar="N", help="Place in the order of releases, e.g. 7; devices take only higher ones.")
@click.option(
    "--labels", metavar="FILE|TEXT", shell_complete=_complete.path, help="The labels, one a line or with commas, e.g. labels.txt or cat,dog."
)
@click.option(
    "--preprocess", metavar="SPEC", help="From image to input, e.g. imagenet, or size=32x32,mean=0.5,0.5,0.5,std=0.25,0.25,0.25, or a file.toml."
)
@click.option(
    "--input-type",
    type=click.Choice(["float32", "uint8"]),
    default="float32",
    show_default=True,
    help="What the graph takes: normalized images, or their bytes, which it normalizes itself, e.g. uint8.",
)
@click.option("--task", type=click.Choice(["single-label", "multi-label"]), help="Whether one label holds or several may, e.g. multi-label.")
@click.option("--atol", type=float, default=1e-5, show_default=True, help="What a float32 answer may differ by, e.g. 1e-4.")
@click.option("--rtol", type=float, default=1e-5, show_default=True, help="The same as a share of the answer, e.g. 1e-4; added to --atol.")
@click.option("--min-agreement", type=float, default=0.98, show_default=True, metavar="SHARE", help="Least share of decisions kept, e.g. 0.99.")
@click.option("--input-size", metavar="[Cx]HxW", help="The network's input, e.g. 224x224 or 1x28x28, where it isn't known.")
@source_options
@click.option(
    "--license",
    "licenses",
    metavar="KEY=SPDX",
    callback=pairs,
    multiple=True,
    help="An SPDX licence, e.g. --license model=MIT --license data=CC0-1.0.",
)
@click.option("--force", is_flag=True, help="Pack what falls short of its proof, marked so, e.g. to look into it on a device.")
@click.option("--log", type=PATH, metavar="FILE", help="Keep what the exporter's libraries say, e.g. export.log.  [default: kept on failure only]")
@memory_option
@json_option
def command(source: str, output: Path, log: Path | None, as_json: bool, memory_limit: int | None, **options: Any) -> None:
    """Export SOURCE, prove that the graph still gives its answers, and write an artifact.

    SOURCE is a checkpoint of `edgecnn train` (.safetensors), package.module:callable or file.py:callable, a program of torch.export (.pt2), or
    an .onnx. A float32 graph must give SOURCE's answers within --atol and --rtol; a quantized one its decisions, on images that it wasn't
    calibrated with. Otherwise the exit code is 1 and nothing is written. With --quantize auto the quantizers and their options are tried on
    this machine, and the fastest that keeps the accuracy is taken: it may be float32.
    """
    with require_extra("export"):
        from edgecnn.cli._export import run_export
        from edgecnn.cli._memory import warn_of

        run_export(source, output=output, log=log, as_json=as_json, **options)
        warn_of(output, memory_limit, options["target"])
