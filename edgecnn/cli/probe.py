"""Tell what a device is: CPU, memory, onnxruntime and what it really loads, int8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgecnn.cli._on import on_option
from edgecnn.cli._options import columns, json_option, put, put_json, shown

if TYPE_CHECKING:
    from edgecnn.artifact.probe import Probe, Runtime


@click.command(epilog="Example: edgecnn probe --json > probe.json, then on the host: edgecnn export ... --target probe.json")
@on_option()
@json_option
def command(as_json: bool) -> None:
    """Tell what this device is, and what its onnxruntime really does: which providers load, the newest graphs that it reads, whether int8
    products saturate.

    onnxruntime is asked in a process of its own: where that dies, it is said how and why, all else is told, and the exit code is 4. What --json
    prints is what `edgecnn export --target` takes.
    """
    from edgecnn.artifact.codec import encode
    from edgecnn.device.probe import probe
    from edgecnn.errors import MissingHere

    found = probe()
    if as_json:
        put_json(encode(found))
    else:
        for line in columns([(title, shown(text)) for title, text in _rows(found)]):
            put(line)
    failure = found.onnxruntime.failure
    if failure is not None:
        raise MissingHere(f"onnxruntime doesn't run here: {failure}.")


def _rows(probe: Probe) -> Iterator[tuple[str, str]]:
    if probe.board:
        yield "board", probe.board
    yield "processor", f"{probe.processor or 'unknown'}, {probe.machine}, {probe.bits}-bit"
    yield "cores", f"{probe.cores} of {probe.cores_online}"
    yield "extensions", " ".join(probe.isa) or "none that matter are told"
    memory = [f"{_gib(probe.memory_bytes)} allowed" if probe.memory_bytes is not None else None]
    memory += [f"{_gib(probe.memory_available_bytes)} free" if probe.memory_available_bytes is not None else None]
    yield "memory", ", ".join(filter(None, memory)) or "unknown"
    yield "clock", _clock(probe)
    yield "temperature", ", ".join(f"{sensor.name} {sensor.celsius:.1f} °C" for sensor in probe.temperatures) or "no sensor can be read"
    yield "system", ", ".join(filter(None, (probe.system, probe.libc, f"Python {probe.python}")))
    yield "packages", ", ".join(f"{name} {version}" for name, version in probe.packages.items()) or "none of edgecnn's"
    yield from _runtime_rows(probe.onnxruntime)


def _runtime_rows(runtime: Runtime) -> Iterator[tuple[str, str]]:
    if runtime.opset is not None:
        yield "onnxruntime", f"{runtime.version or 'of unknown version'}, reads graphs up to opset {runtime.opset} and IR {runtime.ir_version}"
    elif runtime.version is not None:
        yield "onnxruntime", f"{runtime.version}, reads no graph"
    for provider in runtime.providers:
        yield "provider", f"{provider.name} loads" if provider.loads else f"{provider.name} DOESN'T LOAD: {provider.why}"
    products = runtime.products
    if products is not None:
        sums = f"255 x 127 add up to {products.fast:.0f} instead of {products.wanted:.0f}"
        mended = "right in its precise mode, which edgecnn takes" if products.mended else f"{products.precise:.0f} in its precise mode"
        yield "int8", f"SATURATES: {sums}, {mended}" if products.saturates else "exact: no product saturates"


def _clock(probe: Probe) -> str:
    clock = probe.clock
    if clock is None:
        return "unknown"
    now = f"{clock.mhz:.0f} MHz" if clock.mhz is not None else None
    most = f"at most {clock.most_mhz:.0f} MHz" if clock.most_mhz is not None else None
    return ", ".join(filter(None, (now, most, f"governor {clock.governor}" if clock.governor else None)))


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
