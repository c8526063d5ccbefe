"""Show the spec, layers, costs and provenance of an artifact or .onnx."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli._model import model_argument
from edgecnn.cli._options import json_option, memory_option, put, put_json


@click.command(epilog="Example: edgecnn inspect resnet8-1.0.0.edgecnn")
@model_argument
@memory_option
@click.option(
    "--target", metavar="NAME|FILE", help="Warn when it needs more memory than this device has, e.g. rpi3, or what `edgecnn probe --json` wrote."
)
@json_option
def command(file: Path, memory_limit: int | None, target: str | None, as_json: bool) -> None:
    """Show what FILE holds: an artifact, every byte of it verified, or a bare .onnx.

    Layers come with output shapes, parameters, multiply-accumulates (MACs) for one image and bytes of weights, and with
    the memory that inferences take: for activations, and about how much the whole process does. An artifact adds its spec and
    preprocessing, the stages that made it with their largest difference from the source network, parity, tools and licences.
    """
    from edgecnn.cli._describe import ArtifactView, GraphView, View
    from edgecnn.cli._memory import limits, warn

    allowed = limits(memory_limit, target)
    view: View = GraphView.read(file) if file.suffix == ".onnx" else ArtifactView.read(file)
    if as_json:
        put_json(view.facts())
    else:
        for line in view.lines():
            put(line)
    warn(view.need, allowed)
