"""Which engine runs an artifact: the one that is named, or, for "auto", the fastest of those here that gives the golden answers.

"auto" takes about a second at the first start of a graph on a machine: each engine's answers to the golden inputs are held against the manifest's
limits, and those that pass are timed on them in bursts that take turns. What was found is kept in the user's cache folder for the graph, the
engines' versions, the CPU and the number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from edgecnn.device import host
from edgecnn.device.engines import allowed_threads, engine_module, names
from edgecnn.device.golden import Golden, read_golden
from edgecnn.device.remembered import cpu, keep, recall
from edgecnn.device.saturation import precise_for, settle
from edgecnn.device.session import Session, open_session
from edgecnn.device.validate import check_answers
from edgecnn.errors import EdgecnnError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgecnn.artifact.bundle import Bundle

AUTO, DEFAULT = "auto", "ort"
MARGIN = 0.05
"""By how much of its time another engine must be faster than the reference engine: a second of measuring tells no less apart."""

BURST_SECONDS, SECONDS = 0.01, 1.0
"""Bursts are short, so that on a busy machine some are not interrupted; of all engines together they take about so long."""

LEAST_ROUNDS, MOST_ROUNDS = 5, 50
_LAYOUT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An engine's name and what there is to say of how it came to be chosen, without its full stop: None where nothing is new."""

    engine: str
    told: str | None = None


def open_with(bundle: Bundle, engine: str, *, threads: int | None = None) -> tuple[Session, tuple[str, ...]]:
    """The graph of an open artifact in the named engine, or in the one that is chosen for "auto"; and what there is to say of it.

    Raises what `choose`, `open_session` and, for onnxruntime, `saturation.settle` raise.
    """
    chosen = choose(bundle, engine, threads=threads)
    if chosen.engine == DEFAULT and host.may_saturate():
        session, told = settle(bundle, threads=threads)
    else:
        session, told = open_session(bundle.graph_source(), bundle.manifest.spec, threads=threads, engine=chosen.engine), None
    return session, tuple(filter(None, (chosen.told, told)))


def precise_with(bundle: Bundle, engine: str) -> bool | None:
    """`precise` for opening the graph of an open artifact in an engine that was named or chosen: see edgecnn.device.saturation."""
    return precise_for(bundle) if engine == DEFAULT else None


def choose(bundle: Bundle, engine: str, *, threads: int | None = None) -> Choice:
    """The name itself, or for "auto" what was kept, else what is measured now. Raises ArtifactRejected where there are no golden inputs to
    measure on, and UsageError for threads."""
    if engine != AUTO:
        return Choice(engine=engine)
    threads = allowed_threads(threads)
    here = [name for name in names() if engine_module(name).available()]
    if len(here) < 2:
        return Choice(engine=DEFAULT, told=f"--engine auto has {DEFAULT} to choose from and no other; pip install 'edgecnn[openvino]' adds openvino")
    hangs_on = (_LAYOUT, bundle.manifest.member("model.onnx").sha256, threads, *map(_version, here), *cpu())
    known = recall("engine", hangs_on, words=here)
    if known is not None:
        return Choice(engine=known)
    chosen = _measured(bundle, here, threads)
    keep("engine", hangs_on, chosen.engine)
    return chosen


def _measured(bundle: Bundle, here: Sequence[str], threads: int) -> Choice:
    golden = read_golden(bundle)
    sessions: dict[str, Session] = {}
    unfit: dict[str, str] = {}
    for name in here:
        try:
            session = open_with(bundle, name, threads=threads)[0]
            failed = next((step for step in check_answers(bundle, golden, session) if not step.passed), None)
        except EdgecnnError as error:
            unfit[name] = str(error).rstrip(".")
        else:
            if failed is None:
                sessions[name] = session
            else:
                unfit[name] = f"its answers fall short: {failed.message}"
    why = [f"{name} was left out ({reason})" for name, reason in unfit.items()]
    if len(sessions) < 2:
        # the reference engine says itself what is wrong with a graph that no engine runs
        return Choice(engine=next(iter(sessions), DEFAULT), told="; ".join([f"--engine auto takes {next(iter(sessions), DEFAULT)}", *why]))
    times = race({name: _runner(session, golden) for name, session in sessions.items()})
    best = fastest(times)
    figures = ", ".join(f"{name} {seconds * 1e3:.3g} ms" for name, seconds in sorted(times.items(), key=lambda item: item[1]))
    return Choice(engine=best, told="; ".join([f"--engine auto takes {best} on this machine from now on ({figures})", *why]))


def _runner(session: Session, golden: Golden) -> Callable[[], object]:
    """One inference on golden inputs, as many as run at once."""
    step = session.spec.batch or 1
    rounds = -(-step // len(golden.inputs))
    x: Any = golden.inputs.repeat(rounds, axis=0)[:step].astype(session.spec.input.dtype)
    return lambda: session.engine.run_one(x)


def race(runners: Mapping[str, Callable[[], object]], *, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Seconds a run of each, by the burst that a tenth of its bursts are faster than: what else the machine does only ever adds. Bursts take turns,
    so that it adds to all alike."""
    means: dict[str, list[float]] = {name: [] for name in runners}
    order, begun = list(runners), clock()
    for turn in range(MOST_ROUNDS):
        if turn >= LEAST_ROUNDS and clock() - begun > SECONDS:
            break
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            runners[name]()  # finds the caches full of the other's data
            start = clock()
            runs, spent = 0, 0.0
            while spent < BURST_SECONDS:
                runners[name]()
                runs += 1
                spent = clock() - start
            means[name].append(spent / runs)
    return {name: sorted(found)[len(found) // 10] for name, found in means.items()}


def fastest(times: Mapping[str, float]) -> str:
    """The engine of the least time, and the reference engine where it is within the margin of that."""
    best = min(times, key=lambda name: times[name])
    if DEFAULT in times and times[best] > times[DEFAULT] * (1 - MARGIN):
        return DEFAULT
    return best


def _version(engine: str) -> str:
    """An engine and the version of its runtime, which is not imported for that."""
    if engine == DEFAULT:
        return f"{engine} {host.installed_runtime()}"
    try:
        return f"{engine} {metadata.version(engine)}"
    except metadata.PackageNotFoundError:
        return engine


def engine_for(path: Path, engine: str, *, threads: int | None = None, trust_key: Path | str | None = None) -> Choice:
    """`choose` for a file that isn't open yet, which may be a bare .onnx too. Raises what `choose` and `open_trusted` raise, and UsageError for
    "auto" and a bare graph."""
    if engine != AUTO:
        return Choice(engine=engine)
    if path.suffix.lower() == ".onnx":
        raise UsageError(f"--engine auto measures on an artifact's golden inputs, and {path} has none; name an engine, e.g. --engine openvino.")
    from edgecnn.sign import open_trusted

    with open_trusted(path, trust_key) as bundle:
        return choose(bundle, engine, threads=threads)
