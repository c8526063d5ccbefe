"""Write a page about an artifact for people: accuracy, mistakes, parity, speed, memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli._options import artifact_argument, require_extra, threads_option

if TYPE_CHECKING:
    from edgecnn.report.study import Study
    from edgecnn.report.subject import Artifact

_PATH = click.Path(path_type=Path)
_FORMS = ("html", "md", "json")


@click.command(epilog="Example: edgecnn report flowers-1.0.0.edgecnn --bench bench.json --data photos/test -o report.html")
@artifact_argument
@click.option("--bench", type=_PATH, metavar="FILE", help="What `edgecnn bench FILE --json` printed, for latencies, e.g. bench.json.")
@click.option("--data", type=_PATH, help="Images with labels, to measure accuracy and calibration on, e.g. photos/test.")
@click.option("--data-name", metavar="TEXT", help="What the report calls them, e.g. 'the test set'.  [default: the name of DATA]")
@click.option(
    "--float32", type=_PATH, metavar="FILE", help="The same model exported with --quantize none, to compare with, e.g. flowers-float32.edgecnn."
)
@click.option(
    "--metrics", type=_PATH, metavar="FILE", help="metrics.jsonl of its training, or the checkpoint, for curves, e.g. runs/a/metrics.jsonl."
)
@click.option("--about", type=_PATH, metavar="FILE", help="Markdown that says what only you know, as for `edgecnn card`, e.g. about.md.")
@click.option(
    "--format", "form", type=click.Choice(_FORMS), help="A page, Markdown for a pull request, or JSON.  [default: by OUTPUT's end, else html]"
)
@click.option("-o", "--output", type=_PATH, metavar="OUTPUT", help="The file to write, e.g. report.html.  [default: standard output]")
@threads_option
def command(
    file: Path,
    bench: Path | None,
    data: Path | None,
    data_name: str | None,
    float32: Path | None,
    metrics: Path | None,
    about: Path | None,
    form: str | None,
    output: Path | None,
    threads: int | None,
) -> None:
    """Write one page about FILE that a team can pass around.

    It holds the model card, parity stage by stage, layers, memory over the graph, provenance and licences; with --data accuracy, the most confused
    labels with their images and how far scores can be trusted; with --bench latencies; with --metrics the training's curves. The page is one file
    without scripts, which needs no network. Equal inputs, equal bytes.
    """
    from edgecnn.artifact.files import write_atomic
    from edgecnn.cli._options import put
    from edgecnn.errors import UsageError
    from edgecnn.report.about import read_about
    from edgecnn.report.curves import read_history
    from edgecnn.report.sheet import gather, write
    from edgecnn.report.subject import check_twins, read_artifact
    from edgecnn.report.timing import read_timing

    if data_name is not None and data is None:
        raise UsageError("--data-name names the images of --data; give both or none.")
    form = form or _form_of(output)
    if form == "html":
        _check_page(output)
    artifact = read_artifact(file)
    twin = read_artifact(float32) if float32 is not None else None
    if twin is not None:
        check_twins(artifact, twin)
    said = read_about(about) if about is not None else None
    history = read_history(metrics, artifact.manifest.spec) if metrics is not None else ()
    timing = read_timing(bench, artifact) if bench is not None else None
    found = None
    if data is not None:
        found = _study(file, artifact, data, data_name, float32=float32, threads=threads, pictures=form == "html")
    sheet = gather(artifact, float32=twin, study=found, timing=timing, history=history, about=said)
    with require_extra("report"):
        written = write(sheet, form)
    if output is None:
        put(written.rstrip("\n"))
    else:
        write_atomic(output, written.encode())
        put(f"{output}, {len(written.encode()):,} bytes")


def _form_of(output: Path | None) -> str:
    end = output.suffix.lower().lstrip(".") if output is not None else ""
    return {"markdown": "md"}.get(end, end) if end in (*_FORMS, "markdown") else "html"


def _check_page(output: Path | None) -> None:
    """That its libraries are there, before anything is measured. Raises ExtraMissing, or UsageError where a page would be poured over a terminal."""
    from edgecnn.errors import UsageError

    with require_extra("report"):
        import markdown_it  # noqa: F401

        from edgecnn.report.page import environment

        environment()
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("a page is no reading for a terminal; give -o report.html, or --format md.")


def _study(file: Path, artifact: Artifact, data: Path, name: str | None, *, float32: Path | None, threads: int | None, pictures: bool) -> Study:
    from dataclasses import replace

    from edgecnn.cli._progress import progress_line
    from edgecnn.data.collection import open_collection
    from edgecnn.report.mistakes import with_pictures
    from edgecnn.report.study import study

    images = open_collection(data, labels=artifact.manifest.spec.labels)
    with progress_line() as show:
        found = study(
            file,
            artifact,
            images,
            name=name or data.resolve().name,
            float32=float32,
            threads=threads,
            progress=lambda done, total: show(f"{done} of {total} images"),
        )
        return replace(found, mistakes=with_pictures(found.mistakes, images)) if pictures else found
