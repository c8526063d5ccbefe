"""Measure latency percentiles, throughput, start-up and memory; several files side by side."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import store_option
from edgecnn.cli._on import on_option
from edgecnn.cli._options import engine_option, json_option
from edgecnn.cli._trust import trust_options


def _threads(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int | None, ...]:
    """Numbers with commas between them; the engine refuses those that this process may not use."""
    if value is None:
        return (None,)
    try:
        found = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number of threads; give one, or several with commas, e.g. 1,2") from None
    return found


@click.command(epilog="Example: edgecnn bench resnet8.edgecnn resnet8-float.onnx --threads 1")
@on_option(files="model")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=_complete.model)
@click.option(
    "--scenario",
    type=click.Choice(("single-stream", "offline")),
    default="single-stream",
    show_default=True,
    help="One image after the other, judged by p90; or as many at a time as the graph takes, judged by throughput.",
)
@click.option("--idle-ms", type=float, default=0.0, metavar="MS", help="Sleep before each inference, as a device does that wakes up for each frame.")
@click.option("--min-seconds", type=float, default=10.0, show_default=True, metavar="S", help="Least time in timed runs, a file.")
@click.option("--min-runs", type=int, default=100, show_default=True, metavar="N", help="Least number of timed runs, a file.")
@click.option("--warmup", type=int, default=20, show_default=True, metavar="N", help="Runs before the timed ones, a file.")
@click.option(
    "--threads",
    callback=_threads,
    metavar="N[,N...]",
    help="CPU threads, e.g. 1; with several, e.g. 1,2, each file is timed on each.  [default: all that this process may use]",
)
@engine_option
@click.option("--provider", metavar="NAME", help="The engine's execution provider, e.g. cuda.  [default: the CPU's]")
@click.option("--shape", "shapes", metavar="NAME=SIZES", multiple=True, help="Sizes of an .onnx's input that it leaves open, e.g. input=1x3x32x32.")
@click.option("--compare", is_flag=True, help="Say which of two FILEs is faster, how sure that is, and whether int8 is worth it here.")
@click.option("--profile", is_flag=True, help="Time each layer, too, beside what this CPU can do at most.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="PAGE", help="Write it all as a page with plots, e.g. bench.html.")
@json_option
@store_option
@trust_options
def command(
    files: tuple[str, ...],
    scenario: str,
    idle_ms: float,
    min_seconds: float,
    min_runs: int,
    warmup: int,
    threads: tuple[int | None, ...],
    engine: str,
    provider: str | None,
    shapes: tuple[str, ...],
    compare: bool,
    profile: bool,
    plot: Path | None,
    as_json: bool,
    store: Path | None,
    trust_key: Path | None,
) -> None:
    """Time the inference of artifacts, installed models (NAME or NAME@VERSION) or bare .onnx FILEs, image after image.

    Input and output buffers are bound. Several files take turns in bursts. Every sample counts; a percentile is shown, with its 95 % interval, where
    at least ten samples lie beyond it. Start-up and memory are those of a process of its own.

    Figures that can't be trusted are INVALID, with the reason and exit code 1: too few runs; a drift; a lowered clock or a throttled CPU, where
    /sys tells; other load on the CPUs; another provider than the one that was asked for.

    --json prints one line a file, with all samples. --plot needs the extra report: pip install 'edgecnn[report]'. Where a signature is required each
    FILE needs one, a bare .onnx too.
    """
    from edgecnn.cli._bench import Request, run_bench

    run_bench(
        Request(
            files=files,
            scenario="offline" if scenario == "offline" else "single-stream",
            idle_ms=idle_ms,
            min_seconds=min_seconds,
            min_runs=min_runs,
            warmup=warmup,
            threads=threads,
            engine=engine,
            provider=provider,
            shapes=shapes,
            compare=compare,
            profile=profile,
            plot=plot,
            as_json=as_json,
            store=store,
            trust_key=trust_key,
        )
    )
