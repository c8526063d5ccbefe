"""What the fuzzer feeds to the reader of artifacts: `tools/fuzz_reader` runs it under atheris, test_fuzz.py without.

An input's first byte says what the rest is: a whole file, or one member of an artifact that is right in every other respect, its digests and
sizes made right again, so that what lies behind the checksums is reached too.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.bundle import read_bundle
from edgecnn.artifact.graph import layers, read_graph
from edgecnn.device.whole import check_whole
from edgecnn.errors import ArtifactRejected
from tests.artifact import samples
from tests.attacks.make import Members, archive, listed, members_of, sorted_files
from tests.attacks.mutate import messages, parse, serialize
from tests.fixtures.graphs import IR_VERSION, OPSET, tiny_classifier

SLOTS = ("file", "model.onnx", "manifest.json", "report.json", "golden/inputs.npy", "golden/outputs.npy", "names")
_LARGEST_SEED = 50_000
_MODELS = Path(__file__).parents[2] / "models"


def check(data: bytes) -> str:
    """What becomes of one input: "accepted", or the name of the error that refuses it. Anything else that it raises is a finding."""
    slot, content = SLOTS[data[0] % len(SLOTS)] if data else "file", data[1:]
    try:
        if slot == "model.onnx":  # all that inspect shows of a graph, too, whether a device would load it or not
            layers(read_graph(content))
        with read_bundle(Path("fuzzed.edgecnn"), _as_file(_artifact(slot, content))) as bundle:
            check_whole(bundle)
            layers(bundle.check_graph())
    except ArtifactRejected as error:
        text = str(error)
        assert text.isprintable(), text
        assert len(text) < 1000, text
        return type(error).__name__
    return "accepted"


def _artifact(slot: str, content: bytes) -> bytes:
    if slot == "file":
        return content
    good = good_members()
    if slot == "manifest.json":
        return archive(sorted_files({**good, slot: content}))
    if slot == "names":
        names = content.decode("latin-1").split("\n")[:70]
        return archive([*sorted_files(good), *((name, name.encode()) for name in names)])
    return archive(sorted_files(listed({**good, slot: content})))


def _as_file(data: bytes) -> io.BufferedReader:
    handle = os.memfd_create("fuzzed")
    os.write(handle, data)
    return open(handle, "rb")


@cache
def good_members() -> Members:
    """Those of a small artifact that is accepted."""
    model = tiny_classifier()
    answers = _npy(np.zeros((2, 3), np.float32))
    report = replace(samples.report(model), golden=("golden/00.png",))
    golden = {"inputs": _npy(np.zeros((2, 3, 8, 8), np.float32)), "outputs": answers, "reference": answers}
    members = {f"golden/{name}.npy": data for name, data in golden.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "good.edgecnn"
        samples.pack_sample(path, members={**members, "golden/00.png": b"not decoded here", "report.json": report.to_json()})
        return members_of(path.read_bytes())


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def seeds() -> Iterator[bytes]:
    """Good inputs for every slot: of the small artifact, and of the shipped ones what isn't too large; graphs without their weights."""
    yield bytes([SLOTS.index("file")]) + archive(sorted_files(good_members()))
    yield bytes([SLOTS.index("names")]) + b"golden/zz.bin\n../x"
    shipped = [members_of(path.read_bytes()) for path in sorted(_MODELS.glob("*/*.edgecnn")) if path.stat().st_size < 1_000_000]
    yield bytes([SLOTS.index("model.onnx")]) + many_operators()
    for members in (good_members(), *shipped):
        for number, slot in enumerate(SLOTS):
            content = members.get(slot, b"")
            content = _thin(content) if slot == "model.onnx" else content
            if 0 < len(content) < _LARGEST_SEED:
                yield bytes([number]) + content


def many_operators() -> bytes:
    """A small graph of what exporters write: quantized convolution, windows, shapes computed from shapes."""
    constants = {
        "scale": np.float32(0.1),
        "zero": np.uint8(0),
        "weight": np.ones((4, 3, 3, 3), np.int8),
        "weight.scale": np.full(4, 0.1, np.float32),
        "weight.zero": np.zeros(4, np.int8),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "nothing": np.array(0, np.float32),
        "first": np.array([0]),
        "one": np.array([1]),
        "three": np.array([3]),
        "rest": np.array([-1]),
        "axes": np.array([2, 3]),
        "starts": np.array([0, 0]),
        "ends": np.array([4, 1 << 62]),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "fc": np.ones((3, 4), np.float32),
    }
    nodes: list[tuple[str, str, str, dict[str, object]]] = [
        ("QuantizeLinear", "input scale zero", "q", {}),
        ("DequantizeLinear", "q scale zero", "dq", {}),
        ("DequantizeLinear", "weight weight.scale weight.zero", "dw", {"axis": 0}),
        ("Conv", "dq dw", "conv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "group": 1, "dilations": [1, 1]}),
        ("Pad", "conv pads nothing", "padded", {"mode": "constant"}),
        ("MaxPool", "padded", "pool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 0}),
        ("Slice", "pool starts ends axes", "sliced", {}),
        ("Resize", "sliced  scales", "resized", {"mode": "nearest"}),
        ("Concat", "resized resized", "both", {"axis": 1}),
        ("Split", "both", "left right", {"axis": 1, "num_outputs": 2}),
        ("Add", "left right", "sum", {}),
        ("Transpose", "sum", "turned", {"perm": [0, 2, 3, 1]}),
        ("Transpose", "turned", "back", {"perm": [0, 3, 1, 2]}),
        ("ReduceMean", "back axes", "mean", {"keepdims": 1}),
        ("Shape", "mean", "shape", {}),
        ("Gather", "shape first", "batch", {"axis": 0}),
        ("Concat", "batch rest", "target", {"axis": 0}),
        ("Reshape", "mean target", "flat", {"allowzero": 0}),
        ("Gemm", "flat fc", "logits", {"transB": 1, "alpha": 1.0}),
    ]
    made = [helper.make_node(operator, inputs.split(" "), outputs.split(" "), **attributes) for operator, inputs, outputs, attributes in nodes]
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("input", (1, 3, 8, 8)), ("logits", (1, 3)))]
    graph = helper.make_graph(
        made, "many", edges[:1], edges[1:], [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString(deterministic=True)


def _thin(model: bytes) -> bytes:
    """The graph with one element in the place of each large tensor."""
    fields = parse(model)
    for tensor in messages(fields, "Tensor"):
        raw = next((field for field in tensor if field.number == 9), None)
        sizes = [field for field in tensor if field.number == 1]
        if raw and isinstance(raw.value, bytes) and len(raw.value) > 64:
            raw.value = raw.value[: len(raw.value) // math.prod(int(size.value) for size in sizes)]
            for size in sizes:
                size.value = 1
    return serialize(fields)
