"""Arm without a board: edgecnn on an emulated arm64 machine, a Cortex-A53, A72 and A76 in turn.

\b
    tools/arm64                    answers and instructions, beside this machine's and the kept ones: what CI runs
    tools/arm64 remote             edgecnn's commands over ssh, to a login on the emulated machine
    tools/arm64 count --write      keep the instructions that are counted now
    tools/arm64 compare            instructions of LiteRT, MNN and ncnn for the same networks
    tools/arm64 python cortex-a72 -m edgecnn run FILE IMAGE     a program on the emulated machine

Exit code 1 where something differs, 4 where the machine can't be built here. Emulated time says nothing of a device, so none is shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import click

from edgecnn.cli._options import columns
from edgecnn.device.host import available_cores
from edgecnn.errors import EdgecnnError, MissingHere
from tools.arm64_lab import answers, counts, remote
from tools.arm64_lab.loopback import MISSING
from tools.arm64_lab.machine import CORES, PLACE, Machine, build
from tools.arm64_lab.nets import Net, find

T = TypeVar("T")


def say(message: str) -> None:
    print(f"==> {message}", file=sys.stderr, flush=True)


def each(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Their results, in order; as many at a time as there are cores. The first failure ends it all."""
    with ThreadPoolExecutor(max_workers=available_cores()) as pool:
        waiting = [pool.submit(job) for job in jobs]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@click.group(invoke_without_command=True, help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--core", "cores", multiple=True, type=click.Choice(list(CORES)), help="Only this core; may be repeated.")
@click.pass_context
def main(ctx: click.Context, cores: tuple[str, ...]) -> None:
    ctx.obj = cores or tuple(CORES)
    if ctx.invoked_subcommand is None:
        machine = build(say)
        nets, left_out = find(say)
        faults = [*check_answers(machine, nets, ctx.obj), *check_counts(machine, nets, ctx.obj, left_out)]
        end([*faults, *check_remote(machine, ctx.obj[-1])], left_out)


@main.command(name="count")
@click.option("--write", is_flag=True, help="Keep what is counted, in counts.json.")
@click.pass_obj
def count_command(cores: tuple[str, ...], write: bool) -> None:
    """Count the instructions of an inference, by model and core."""
    machine = build(say)
    nets, left_out = find(say)
    if not write:
        end(check_counts(machine, nets, cores, left_out), left_out)
    elif left_out or len(cores) < len(CORES):
        raise MissingHere(" ".join(left_out) or "all cores' figures are kept together; leave out --core.")
    else:
        found = count_all(machine, nets, cores)
        counts.write_kept(found, versions(machine))
        print(f"{os.path.relpath(counts.KEPT)} was written")


@main.command(name="remote")
@click.pass_obj
def remote_command(cores: tuple[str, ...]) -> None:
    """Run edgecnn's commands over ssh on a login whose Python is the emulated machine's."""
    end(check_remote(build(say), cores[-1]), [])


@main.command(name="compare")
@click.pass_obj
def compare_command(cores: tuple[str, ...]) -> None:
    """Count the instructions of LiteRT, MNN and ncnn for the same networks, as a Markdown table."""
    from tools.arm64_lab.peers import compare

    machine = build(say)
    nets, left_out = find(say)
    for line in compare(machine, nets, cores, each=each, say=say):
        print(line)
    end([], left_out)


@main.command(name="python", context_settings={"ignore_unknown_options": True})
@click.argument("core", type=click.Choice(list(CORES)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def python_command(core: str, arguments: tuple[str, ...]) -> None:
    """Run Python on the emulated CORE, in this folder."""
    python = str(build(say).python(core))
    os.execv(python, [python, *arguments])


def check_answers(machine: Machine, nets: Sequence[Net], cores: Sequence[str]) -> list[str]:
    """A table of what was compared; the faults that were found."""
    say(f"answers on {', '.join(cores)} beside this machine's")
    limits = {net: answers.limit_of(net) for net in nets}
    expected = dict(zip(nets, each([lambda net=net: answers.here(net) for net in nets]), strict=True))  # type: ignore[misc]
    jobs = [(core, net) for core in cores for net in sorted(nets, key=lambda net: -net.artifact.stat().st_size)]
    found = each([lambda core=core, net=net: compare_one(machine, core, net, expected[net], limits[net]) for core, net in jobs])  # type: ignore[misc]
    rows = [("network", "core", "images", "largest difference", "limit", "decided alike", "run", "validate", "inspect")]
    order = {net.title: place for place, net in enumerate(nets)}
    for comparison, commands in sorted(found, key=lambda pair: (order[pair[0].net], pair[0].core)):
        limit = f"{comparison.limit:g}" if comparison.limit else "exact"
        cells = (comparison.net, comparison.core, str(comparison.images), f"{comparison.largest:.3g}", limit, str(comparison.agreeing))
        rows.append((*cells, *("FAIL" if commands[name] else "same" for name in ("run", "validate", "inspect"))))  # type: ignore[arg-type]
    print(*columns(rows, right=(2, 3, 4, 5)), sep="\n", flush=True)
    return [fault for comparison, commands in found for fault in (*comparison.faults, *(one for some in commands.values() for one in some))]


def compare_one(
    machine: Machine, core: str, net: Net, expected: answers.Answers, limit: float
) -> tuple[answers.Comparison, dict[str, tuple[str, ...]]]:
    """The answers of a net on a core, and the faults of each command."""
    (actual,) = answers.there(machine, core, [net])
    commands = {
        name: answers.faults(net, name, core, answers.said_here(net, name), answers.said_there(machine, core, net, name), limit)
        for name in answers.commands(net)
    }
    return answers.compare(net, core, expected, actual, limit), commands


def count_all(machine: Machine, nets: Sequence[Net], cores: Sequence[str]) -> dict[str, dict[str, counts.Count]]:
    """core -> net -> its count, with a table."""
    say(f"instructions an inference on {', '.join(cores)}")
    jobs = [(core, net) for net in sorted(nets, key=lambda net: -net.artifact.stat().st_size) for core in cores]
    counts.build_counter(machine)
    counted = each([lambda core=core, net=net: counts.count(machine, core, counts.SCRIPT, net.artifact) for core, net in jobs])  # type: ignore[misc]
    found: dict[str, dict[str, counts.Count]] = {core: {} for core in cores}
    for (core, net), count in zip(jobs, counted, strict=True):
        found[core][net.title] = count
    rows = [("millions of instructions an inference", *cores)]
    rows += [(net.title, *(f"{found[core][net.title].mean / 1e6:.3f}" for core in cores)) for net in nets]
    print(*columns(rows, right=range(1, len(cores) + 1)), sep="\n", flush=True)
    return found


def check_counts(machine: Machine, nets: Sequence[Net], cores: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """The faults of the counts beside the kept figures; what can't be counted at all here is said."""
    try:
        found = count_all(machine, nets, cores)
    except MissingHere as error:
        say(f"SKIPPED: instructions weren't counted: {error}")
        return []
    kept = counts.read_kept()
    absent = {text.partition(" was left out")[0] for text in left_out}
    figures = {core: {net: figure for net, figure in kept["instructions"].get(core, {}).items() if net not in absent} for core in cores}
    return list(counts.faults(found, {**kept, "instructions": figures}))


def check_remote(machine: Machine, core: str) -> list[str]:
    """The faults of commands over ssh; where there is no sshd, that is said."""
    if MISSING is not None:
        say(f"SKIPPED: nothing was tried over ssh: {MISSING}")
        return []
    say(f"commands over ssh, to a login on {core}")
    return list(remote.faults(machine, core))


def versions(machine: Machine) -> dict[str, str]:
    """Of what decides how many instructions there are."""
    script = "import platform, numpy, onnxruntime as o; print(platform.python_version(), numpy.__version__, o.__version__, *platform.libc_ver())"
    python, numpy, onnxruntime, _, libc = machine.run(next(iter(CORES)), "-c", script).stdout.split()
    return {"Python": python, "numpy": numpy, "onnxruntime": onnxruntime, "glibc": libc}


def end(faults: Sequence[str], left_out: Sequence[str]) -> None:
    for text in left_out:
        say(f"SKIPPED: {text}")
    for fault in faults:
        print(f"FAIL {fault}", flush=True)
    if faults:
        sys.exit(1)
    say("all is as it should be")


if __name__ == "__main__":
    # nothing outside the repository: what is downloaded, and what is remembered of this machine
    os.environ["EDGECNN_CACHE"] = str(PLACE / "cache")
    Path(os.environ["EDGECNN_CACHE"]).mkdir(parents=True, exist_ok=True)
    try:
        main(prog_name="tools/arm64", standalone_mode=True)
    except EdgecnnError as error:
        print(f"SKIPPED: {error}" if isinstance(error, MissingHere) else f"arm64: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except RuntimeError as error:
        print(f"arm64: {error}", file=sys.stderr)
        sys.exit(1)
