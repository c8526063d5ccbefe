"""Where the time goes: onnxruntime's profiler, its nodes put back to the layers of the artifact, beside what the CPU could do.

onnxruntime fuses nodes and names what comes of it after one of them, or after a tensor that it makes, with an ending of its own. What still can't be
told apart stands by the operator's name in `others`, so that the parts sum up to the whole.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from edgecnn.artifact.files import temporary_folder
from edgecnn.artifact.records import Layer
from edgecnn.device.bench.peak import Kind, Peak, measure_peak
from edgecnn.errors import MissingHere, UsageError

if TYPE_CHECKING:
    from edgecnn.artifact.model_proto import Graph, Node
    from edgecnn.device.bench.opening import Opened, Shapes

WARMUP, LEAST_RUNS, MOST_RUNS, SECONDS = 5, 20, 500, 1.5
_MOST_EVENTS = 20_000
"""Of 700 bytes each, in a file and then in memory."""

_PRODUCTS = re.compile(
    r"(Nhwc)?(Fused)?Conv|ConvInteger|QLinearConv|(Fused|Q)?Gemm|(Fused)?MatMul|MatMulInteger.*|QLinearMatMul|DynamicQuantizeMatMul"
)
_INT8 = re.compile(r"QLinear.*|Q[A-Z].*|ConvInteger|MatMulInteger.*|DynamicQuantizeMatMul|QuantizeLinear")
_LAYOUT = ("Transpose", "ReorderInput", "ReorderOutput")
_ENDING = re.compile(r"(_token_\d+|_nchwc|_nhwc|_fused|_quant)+$")
_BACK = 6
"""Nodes that are fused into one product at most: a product, an addition, an activation, and what quantizes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """A layer of the artifact's table. operator: what ran it; ms: of one inference; macs: of one inference, None where unknown; bytes: of its
    inputs, weights and outputs; kind: in which numbers it computes; provider: who ran it."""

    name: str
    operator: str
    ms: float
    macs: int | None
    bytes: int
    kind: Kind
    provider: str

    @property
    def gmacs(self) -> float | None:
        """10^9 multiply-accumulates a second; None where it makes none."""
        return self.macs / self.ms / 1e6 if self.macs and self.ms else None

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates for each byte."""
        return self.macs / self.bytes if self.macs and self.bytes else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """layers: the dearest first; others: milliseconds by operator of what belongs to no layer; run_ms: of one inference with the profiler on;
    runs: how many the figures are means of, the faster half of those that were profiled; peak: of this CPU."""

    layers: tuple[LayerCost, ...]
    others: Mapping[str, float]
    run_ms: float
    runs: int
    peak: Peak | None = None

    @property
    def between_ms(self) -> float:
        """Of an inference, what lies in no operator: starting each, and the profiler itself."""
        return max(0.0, self.run_ms - sum(layer.ms for layer in self.layers) - sum(self.others.values()))

    def share_of_peak(self, layer: LayerCost) -> float | None:
        most = None if self.peak is None else self.peak.gmacs(layer.kind)
        return None if layer.gmacs is None or not most else layer.gmacs / most

    def to_json_dict(self) -> dict[str, Any]:
        layers = [{**asdict(layer), "gmacs_per_s": layer.gmacs, "share_of_peak": self.share_of_peak(layer)} for layer in self.layers]
        return {
            "layers": layers,
            "others": [{"name": name, "ms": ms} for name, ms in self.others.items()],
            "profiled_ms": self.run_ms,
            "profiled_runs": self.runs,
            "peak": None if self.peak is None else asdict(self.peak),
        }


def profile_file(
    path: Path, *, threads: int, trust_key: Path | None = None, engine: str = "ort", provider: str | None = None, shapes: Shapes | None = None
) -> Profile:
    """Profile a file on one image where its batch is open, and measure the CPU's peak.

    Raises what `edgecnn.device.bench.opening.open_file` does, and MissingHere for an engine without a profiler.
    """
    from edgecnn.artifact.graph import read_graph
    from edgecnn.artifact.layers import layers
    from edgecnn.device.bench.opening import open_file, with_shapes

    check_engine(engine)
    opened = open_file(path, threads=threads, trust_key=trust_key, provider=provider, shapes=shapes)
    data = opened.model if isinstance(opened.model, bytes) else opened.model.read_bytes()
    graph = with_shapes(read_graph(data), shapes or {})
    most = max(LEAST_RUNS, min(MOST_RUNS, _MOST_EVENTS // max(1, len(graph.nodes))))
    found = fold(_events(opened, most=most), graph, layers(graph), images=opened.batch)
    kinds: list[Kind] = [layer.kind for layer in found.layers if layer.macs]
    return replace(found, peak=measure_peak(kinds or ["float32"], threads=threads, precise=opened.precise))


def check_engine(engine: str) -> None:
    """Raises MissingHere for an engine without a profiler."""
    if engine != "ort":
        raise MissingHere(f"--profile reads onnxruntime's profiler, and the engine {engine} has none; profile with --engine ort.")


def provider_that_ran(opened: Opened) -> str:
    """The execution provider that ran most nodes: one that is loaded may take none of them, and the CPU's then quietly does the work."""
    from edgecnn.device.engines.ort import CPU

    if opened.engine.provider == CPU:
        return CPU
    events = _events(opened, warmup=0, least=1, most=1)
    ran = [str(event.get("args", {}).get("provider")) for event in events if str(event.get("name")).endswith("_kernel_time")]
    return max(set(ran), key=ran.count) if ran else opened.engine.provider


def _events(opened: Opened, *, warmup: int = WARMUP, least: int = LEAST_RUNS, most: int = MOST_RUNS) -> list[dict[str, Any]]:
    """What onnxruntime's profiler writes of some runs, warm ones, in a file of its own that is deleted."""
    from edgecnn.device.engines.ort import CPU, runtime, session_options
    from edgecnn.device.host import may_saturate

    onnxruntime = runtime()
    engine = opened.engine
    source = str(opened.model) if isinstance(opened.model, Path) else opened.model
    chain = [CPU] if engine.provider == CPU else [engine.provider, CPU]
    with temporary_folder() as folder:
        options = session_options(engine.threads, True, may_saturate() if opened.precise is None else opened.precise)
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        session = onnxruntime.InferenceSession(source, options, providers=chain)
        until, feeds, done = time.perf_counter() + SECONDS, dict(opened.feeds), 0
        while done < warmup + least or (done < most and time.perf_counter() < until):
            session.run(None, feeds)
            done += 1
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return [event for event in events if isinstance(event, dict)]


def fold(events: Iterable[Mapping[str, Any]], graph: Graph, table: Sequence[Layer], *, images: int = 1) -> Profile:
    """Put a profile's nodes to the layers of `table`, which is of `graph`. Raises UsageError for a profile without runs.

    Of the profiled runs the faster half is taken, so that what else the machine did stays out, and its mean, for single times are whole microseconds.
    """
    runs = list(_runs(events))[WARMUP:]
    if not runs:
        raise UsageError("onnxruntime's profile holds no runs; profile again.")
    kept = sorted(runs, key=lambda run: run[0])[: (len(runs) + 1) // 2]
    names = _Names(graph, table)
    costs: dict[str, LayerCost] = {}
    others: dict[str, float] = {}
    for key, (_, operator, first) in {key: found for _, nodes in kept for key, found in nodes.items()}.items():
        ms = mean(nodes[key][0] if key in nodes else 0 for _, nodes in kept) / 1e3
        layer = names.layer(key, operator)
        if layer is None:
            others[operator] = others.get(operator, 0.0) + ms
            continue
        moved = _count(first, "activation_size") + _count(first, "output_size") + layer.bytes
        before = costs.get(layer.name)
        costs[layer.name] = LayerCost(
            name=layer.name,
            operator=operator if before is None or _PRODUCTS.fullmatch(operator) else before.operator,
            ms=ms + (before.ms if before else 0),
            macs=None if layer.macs is None else layer.macs * images,
            bytes=moved + (before.bytes if before else 0),
            kind="int8" if _INT8.fullmatch(operator) else "float32",
            provider=str(first.get("provider", "")),
        )
    return Profile(
        layers=tuple(sorted(costs.values(), key=lambda cost: -cost.ms)),
        others=dict(sorted(others.items(), key=lambda other: -other[1])),
        run_ms=mean(total for total, _ in kept) / 1e3,
        runs=len(kept),
    )


_Nodes = dict[str, tuple[int, str, Mapping[str, Any]]]


def _runs(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, _Nodes]]:
    """(microseconds, nodes by their name: microseconds, operator, what else is told) of each run, in order."""
    nodes: _Nodes = {}
    for event in events:
        name, took, told = str(event.get("name", "")), event.get("dur"), event.get("args") or {}
        if not isinstance(took, int) or not isinstance(told, dict):
            continue
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            key = name.removesuffix("_kernel_time")
            before = nodes[key][0] if key in nodes else 0
            nodes[key] = (before + took, str(told.get("op_name", "?")), told)
        elif name == "model_run":
            yield took, nodes
            nodes = {}


def _count(told: Mapping[str, Any], name: str) -> int:
    text = str(told.get(name, ""))
    return int(text) if text.isdecimal() else 0


class _Names:
    """From onnxruntime's names back to the layers."""

    def __init__(self, graph: Graph, table: Sequence[Layer]) -> None:
        self._layers = {layer.name: layer for layer in table}
        self._nodes = {node.name or node.outputs[0]: node for node in graph.nodes if node.outputs}
        self._makers = {name: node for node in graph.nodes for name in node.outputs}

    def layer(self, key: str, operator: str) -> Layer | None:
        node = self._nodes.get(key) or self._makers.get(key)
        if node is None:
            base = _ENDING.sub("", key)
            node = self._nodes.get(base) or self._makers.get(base)
        if node is None or (operator in _LAYOUT and node.operator != operator):
            return None
        if _PRODUCTS.fullmatch(operator):
            # a product with its activation is named after what the activation makes
            node = self._product_behind(node) or node
        return self._layers.get(node.name or node.outputs[0])

    def _product_behind(self, node: Node) -> Node | None:
        waiting, seen = [node], 0
        while waiting and seen < _BACK:
            node, seen = waiting.pop(0), seen + 1
            if _PRODUCTS.fullmatch(node.operator):
                return node
            waiting += [self._makers[name] for name in node.inputs if name in self._makers]
        return None
