"""Tell what changed between two models: preprocessing, labels, graph, weights, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import store_option
from edgecnn.cli._options import json_option, threads_option
from edgecnn.cli._trust import trust_options

_PATH = click.Path(path_type=Path)
_FORMS = ("text", "html", "json")
_COUNTED = ("preprocess", "labels", "task", "graph", "weights", "scales", "answers")


@click.command(epilog="Example: edgecnn diff old.edgecnn new.edgecnn --data photos/test --bench -o diff.html")
@click.argument("a", metavar="A", shell_complete=_complete.model)
@click.argument("b", metavar="B", shell_complete=_complete.model)
@click.option("--data", type=_PATH, help="Images to decide with both, with labels to tell who is right, e.g. photos/test.")
@click.option("--bench", is_flag=True, help="Measure the latency of both, in bursts that take turns.")
@click.option("--min-seconds", type=float, default=5.0, show_default=True, metavar="S", help="For --bench: least time in timed runs, a file.")
@click.option("--show", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Rows and images to show of each section; 0 is all.")
@click.option("--exit-code", is_flag=True, help="End with 1 where they differ in what matters, for CI.")
@click.option("--ignore", type=click.Choice(_COUNTED), multiple=True, help="For --exit-code: what may differ, e.g. weights; may be repeated.")
@click.option("--format", "form", type=click.Choice(_FORMS), help="Text, a page with pictures, or JSON.  [default: by OUTPUT's end, else text]")
@click.option("-o", "--output", type=_PATH, metavar="OUTPUT", help="The file to write, e.g. diff.html.  [default: standard output]")
@threads_option
@json_option
@store_option
@trust_options
def command(a: str, b: str, as_json: bool, form: str | None, **options: Any) -> None:
    """Tell what changed from A to B, what matters most first. Each is an artifact, an installed model (NAME or NAME@VERSION) or a bare .onnx.

    Layers are matched by what they compute and where they stand, so other names don't count. Weights are compared as the layers use them: int8
    dequantized. With --data both decide the same images, each as it prepares them itself; with --bench both are timed.

    \b
    For --exit-code they differ where one of these does:
      preprocess  from the image to the network's input
      labels      which there are, and their order
      task        single-label or multi-label, the activation, thresholds
      graph       layers, their attributes, how they are connected, inputs,
                  outputs, opset and IR version
      weights     any learnt number, or how it is stored
      scales      scale or zero point of a tensor between layers
      answers     with --data: an image that isn't decided alike
    Names, size, latency, limits, versions of tools, licences, golden images
    and signatures never count. Nor does what a bare .onnx doesn't state.

    A page needs the extra report: pip install 'edgecnn[report]'.
    """
    from edgecnn.cli._diff import run_diff

    run_diff(a, b, form="json" if as_json else form, **options)
