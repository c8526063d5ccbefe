"""Instructions of other runtimes for the same networks: LiteRT, MNN and ncnn, by their own aarch64 wheels on the same emulated cores.

Each runtime has a file in on_device/ that runs it. The float32 graph goes through the converter that the runtime's makers, or its users, take;
converters get environments of their own in .cache/arm64, since they want other versions than this project. What a converted network
answers is compared with our graph's answers before it counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact.bundle import open_bundle
from edgecnn.errors import MissingHere
from tools.arm64_lab import counts
from tools.arm64_lab.machine import HERE, PLACE, Machine, pip_target
from tools.arm64_lab.nets import Net

LITERT, MNN, NCNN = "ai-edge-litert==2.3.0", "mnn==3.6.1", "ncnn==1.0.20261020"
PNNX = "pnnx==20261020"
ONNX2TF = (
    "onnx2tf==1.29.24",
    "tensorflow-cpu==2.19.0",
    "tf-keras==2.19.0",
    "numpy==1.26.4",
    "onnx==1.19.1",
    "onnxruntime==1.23.0",
    "onnxsim==0.4.36",
)
ONNX2TF_MORE = ("onnxoptimizer==0.4.2", "onnx-graphsurgeon==0.5.8", "psutil==5.9.5", "protobuf==4.25.5", "ai-edge-litert==2.1.0", "ml-dtypes==0.5.1")
ONNX2TF_REST = (
    "flatbuffers==25.12.19",
    "opencv-python-headless==4.11.0.86",
    "simple-onnx-processing-tools==1.1.32",
    "h5py==3.11.0",
    "sng4onnx==2.0.1",
    "sne4onnx==2.0.1",
)

FLOAT32_ATOL = 1e-3
"""What a converted network's logits may differ by: another order of sums, and Winograd's transforms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a converter starts from. folder: an empty one for what it makes; inputs, outputs: .npy of golden inputs and our answers."""

    graph: Path
    inputs: Path
    outputs: Path
    folder: Path
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A runtime at one precision. wheel: for the device; convert: gives the files that on_device/`script` takes."""

    title: str
    wheel: str
    script: str
    convert: Callable[[Source], Sequence[Path]]
    exact: bool


def environment(name: str, *installs: Sequence[str]) -> Path:
    """The bin/ of a virtual environment with these packages, made once; each of `installs` is one call of pip. Raises MissingHere."""
    folder = PLACE / name
    if not (folder / "whole").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            *([str(folder / "bin" / "pip"), "install", "-q", *some] for some in installs),
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise MissingHere(f"{name} can't be installed here: {done.stderr.strip().splitlines()[-1]}")
        (folder / "whole").touch()
    return folder / "bin"


def call(*command: str | Path, cwd: Path) -> None:
    environment = {**os.environ, "PIP_DRY_RUN": "1"}  # mnnconvert has whatever pip is on PATH install a package that reports its use
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, check=False, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode:
        raise MissingHere(f"{Path(command[0]).name} can't convert it: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def to_ncnn(source: Source) -> Sequence[Path]:
    tool = environment("pnnx", [PNNX, NCNN]) / "pnnx"
    shape = f"inputshape=[{','.join(map(str, source.shape))}]f32"
    call(tool, source.graph, shape, "fp16=0", cwd=source.folder)
    return tuple(source.graph.with_name(f"{source.graph.stem}.ncnn.{kind}") for kind in ("param", "bin"))


def to_mnn(source: Source) -> Sequence[Path]:
    made = source.folder / "model.mnn"
    call(
        environment("mnn", [MNN]) / "mnnconvert",
        "-f",
        "ONNX",
        "--modelFile",
        source.graph,
        "--MNNModel",
        made,
        "--bizCode",
        "none",
        cwd=source.folder,
    )
    return (made,)


def _onnx2tf(source: Source, *options: str) -> None:
    tools = environment("onnx2tf", ONNX2TF[1:4], ["--no-deps", *ONNX2TF[:1], *ONNX2TF[4:], *ONNX2TF_MORE, *ONNX2TF_REST])
    # its own check of itself wants images, which it would download; any do
    images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(source.folder / "calibration_image_sample_data_20x128x128x3_float32.npy", images)
    call(tools / "onnx2tf", "-i", source.graph, "-o", source.folder / "tf", "-n", *options, cwd=source.folder)


def to_litert(source: Source) -> Sequence[Path]:
    _onnx2tf(source)
    return (source.folder / "tf" / "model_float32.tflite",)


def to_litert_int8(source: Source) -> Sequence[Path]:
    """Ranges are those of the golden inputs, which is enough to count with, and says nothing of accuracy."""
    x = np.load(source.inputs).transpose(0, 2, 3, 1)
    given = source.folder / "ranges.npy"
    np.save(given, x)
    _onnx2tf(source, "-oiqt", "-qt", "per-channel", "-cind", "input", str(given), "0", "1")
    return (source.folder / "tf" / "model_full_integer_quant.tflite",)


PEERS = (
    Peer(title=f"LiteRT {LITERT.partition('==')[2]} float32", wheel=LITERT, script="litert.py", convert=to_litert, exact=True),
    Peer(title=f"LiteRT {LITERT.partition('==')[2]} int8", wheel=LITERT, script="litert.py", convert=to_litert_int8, exact=False),
    Peer(title=f"MNN {MNN.partition('==')[2]} float32", wheel=MNN, script="mnn.py", convert=to_mnn, exact=True),
    Peer(title=f"ncnn {NCNN.partition('==')[2]} float32", wheel=NCNN, script="ncnn_net.py", convert=to_ncnn, exact=True),
)


def compare(
    machine: Machine,
    nets: Sequence[Net],
    cores: Sequence[str],
    *,
    each: Callable[[Sequence[Callable[[], Any]]], list[Any]],
    say: Callable[[str], None],
) -> list[str]:
    """The lines of a Markdown table, millions of instructions an inference, ours from counts.json; a sentence stands where a count can't be had."""
    lines = [f"| network | runtime | {' | '.join(cores)} |", f"| --- | --- | {' | '.join('---:' for _ in cores)} |"]
    kept = counts.read_kept()["instructions"]
    for net in (net for net in nets if net.precision == "float32"):
        for precision in ("float32", "int8"):
            figures = (f"{kept[core][f'{net.name} {precision}'] / 1e6:.2f}" for core in cores)
            lines.append(f"| {net.name} | edgecnn {precision} | {' | '.join(figures)} |")
        for peer in PEERS:
            say(f"{net.name}: {peer.title}")
            try:
                cells = [f"{found / 1e6:.2f}" for found in one(machine, net, peer, cores, each)]
            except (MissingHere, RuntimeError) as error:
                say(f"{net.name}: {peer.title}: {error}")
                cells = ["-"] * len(cores)
            lines.append(f"| {net.name} | {peer.title} | {' | '.join(cells)} |")
    return lines


def one(machine: Machine, net: Net, peer: Peer, cores: Sequence[str], each: Callable[[Sequence[Callable[[], Any]]], list[Any]]) -> list[float]:
    packages = PLACE / "peers" / peer.wheel.replace("==", "-")
    if not packages.exists():
        fresh = packages.with_name(f"{packages.name}.part")
        pip_target(fresh, machine.packages.parent.name.removeprefix("python"), [peer.wheel], constraints=None)
        fresh.rename(packages)
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        source = unpack(net, Path(folder))
        files = [os.path.realpath(path) for path in peer.convert(source)]
        script = HERE / "on_device" / peer.script
        extra: Mapping[str, str] = {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
        said = machine.run(cores[0], script, "answer", source.inputs, *files, extra=extra).stdout.splitlines()
        answer = json.loads(next(line for line in reversed(said) if line.startswith("[")))  # MNN talks on standard output, too
        check(peer, np.asarray(answer), np.load(source.outputs))
        jobs = [lambda core=core: counts.count(machine, core, script, "count", source.inputs, *files, extra=extra) for core in cores]  # type: ignore[misc]
        found = each(jobs)
    for count in found:
        if not count.spread <= counts.EXACT:
            raise RuntimeError(f"runs differ by {count.spread:.2%}, so the count means nothing")
    return [count.mean for count in found]


def unpack(net: Net, folder: Path) -> Source:
    names = {"model.onnx": "model.onnx", "golden/inputs.npy": "inputs.npy", "golden/outputs.npy": "outputs.npy"}
    with open_bundle(net.artifact) as bundle:
        shape = tuple(size if isinstance(size, int) else 1 for size in bundle.manifest.spec.input.shape)
        for member, name in names.items():
            (folder / name).write_bytes(bundle.read(member))
    return Source(graph=folder / "model.onnx", inputs=folder / "inputs.npy", outputs=folder / "outputs.npy", folder=folder, shape=shape)


def check(peer: Peer, actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Raises RuntimeError unless a converted network answers as ours does: within a limit in float32, else by most of its decisions."""
    if actual.shape != expected.shape or not actual.size:
        raise RuntimeError(f"it gives answers of the shape {list(actual.shape)}, {list(expected.shape)} was wanted")
    difference = float(np.abs(actual - expected).max())
    if peer.exact and not difference <= FLOAT32_ATOL:
        raise RuntimeError(f"its answers differ by up to {difference:.3g} from ours, so it isn't the same network")
    alike = float(np.mean(actual.argmax(axis=1) == expected.argmax(axis=1)))
    if not alike > 0.6:
        raise RuntimeError(f"it decides {alike:.0%} of the golden images as ours does, so it isn't the same network")
