"""What `edgecnn train` does, apart from its options."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn.device.host import available_cores
from edgecnn.errors import UsageError
from edgecnn.train.fit import Job, fit
from edgecnn.train.job import SHIPPED, check_same_images, collections, load_job_recipe, make_job_spec, prepare_images, resumable, run_folder
from edgecnn.train.progress import DecodeBar, JsonReporter, RichReporter


def run_training(
    path: Path,
    *,
    output: Path | None,
    data: Mapping[str, Path | None],
    overrides: Sequence[str],
    resume: bool,
    devices: int,
    threads: int | None,
    as_json: bool,
) -> None:
    recipe = load_job_recipe(path, overrides=_parse(overrides), data=data)
    if recipe.schedule.batch_size % devices:
        raise UsageError(f"--devices {devices} can't share batches of {recipe.schedule.batch_size} evenly; change schedule.batch_size.")
    if threads is not None and threads > available_cores():
        raise UsageError(f"--threads {threads} is more than this process may use; give at most {available_cores()}.")
    terminal = sys.stderr.isatty() and not as_json
    with run_folder(output or Path("runs") / recipe.name) as folder:
        saved = resumable(folder, recipe, resume=resume)
        spec = saved.spec if saved else make_job_spec(recipe, collections(recipe, path.parent, progress=terminal)[0].labels)
        with DecodeBar() if terminal else contextlib.nullcontext(lambda *_: None) as count:
            training, held_out = prepare_images(recipe, spec, path.parent, folder / "images", count, progress=terminal)
        check_same_images(saved, training)
        job = Job(
            recipe=recipe,
            spec=spec,
            training=training,
            validation=held_out,
            folder=folder,
            threads=_threads(threads, saved.header.threads if saved else None),
            devices=devices,
            resume=saved is not None,
            reporter=JsonReporter if as_json else RichReporter,
        )
        try:
            fit(job)
        except KeyboardInterrupt:
            changes = [f"--set={text}" for text in overrides]
            changes += [f"--{name}={place}" for name, place in (*data.items(), ("threads", threads)) if place is not None]
            changes += [f"--devices={devices}"] if devices > 1 else []
            again = ["edgecnn", "train", str(path), "-o", str(folder), "--resume", *changes]
            raise KeyboardInterrupt(f"go on with: {shlex.join(again)}") from None
        print(folder / SHIPPED)


def _parse(overrides: Sequence[str]) -> dict[str, str]:
    for text in overrides:
        if "=" not in text:
            raise UsageError(f"--set {text} has no '='; write --set KEY=VALUE, e.g. --set schedule.epochs=2.")
    return dict(text.split("=", 1) for text in overrides)


def _threads(wanted: int | None, before: int | None) -> int:
    """A resumed run keeps its thread count, because the bits of the sums depend on it."""
    allowed = available_cores()
    threads = wanted or before or allowed
    if before is not None and threads != before:
        print(f"edgecnn: the run began with {before} threads and goes on with {threads}: its weights may differ in the last bits.", file=sys.stderr)
    if threads > allowed:
        print(f"edgecnn: the run began with {threads} threads, {allowed} are allowed here: its weights may differ in the last bits.", file=sys.stderr)
    return min(threads, allowed)
