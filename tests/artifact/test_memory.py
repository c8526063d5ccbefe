"""What a graph's activations take under onnxruntime: told beforehand, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.graph import read_graph
from edgecnn.artifact.liveness import liveness
from edgecnn.artifact.memory import Arena, memory, workspace
from edgecnn.errors import GraphRejected
from tests.artifact.onnx_models import branches, floats, save, weight
from tests.fixtures.resident import measured

MODELS = Path(__file__).parents[2] / "models"
MB = 1 << 20


# the arena


def test_a_place_is_split_where_it_is_twice_too_large_and_given_whole_otherwise() -> None:
    arena = Arena()
    half = arena.take(MB // 2)
    assert arena.take(MB // 2) == half + MB // 2
    arena = Arena()
    arena.take(MB // 2 + 256)
    assert arena.take(256) > MB, "the rest of the first region went with the place"
    assert arena.touched == MB // 2 + 512


def test_what_is_given_back_is_used_again_and_grows_together() -> None:
    arena = Arena()
    first, second = arena.take(MB // 4), arena.take(MB // 4)
    arena.give_back(first)
    arena.give_back(second)
    assert arena.take(MB) == first
    assert arena.touched == MB


@pytest.mark.parametrize(("size", "touched"), [(1, 256), (0, 256), (256, 256), (257, 512)])
def test_places_are_multiples_of_256(size: int, touched: int) -> None:
    arena = Arena()
    arena.take(size)
    assert arena.touched == touched


@given(st.lists(st.tuples(st.integers(1, 3 * MB), st.booleans()), max_size=30))
def test_places_that_are_taken_never_overlap(requests: list[tuple[int, bool]]) -> None:
    arena = Arena()
    taken: list[tuple[int, int]] = []
    most = 0
    for size, release in requests:
        start = arena.take(size)
        assert all(start + size <= other or other + length <= start for other, length in taken)
        taken.append((start, size))
        most = max(most, sum(length for _, length in taken))
        if release:
            arena.give_back(taken.pop(0)[0])
    assert arena.touched >= most


# what convolutions take for a while


def quantized(channels: int, outputs: int, *, window: int = 3, group: int = 1, stride: int = 1, size: int = 8) -> bytes:
    pad = window // 2
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("Conv", ["xd", "w"], ["a"], pads=[pad] * 4, strides=[stride] * 2, group=group),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["aq"]),
        helper.make_node("DequantizeLinear", ["aq", "s", "z"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.array(0, np.uint8), "z")]
    constants.append(weight("w", outputs, channels // group, window, window))
    return save(helper.make_graph(nodes, "g", [floats("x", 1, channels, size, size)], [helper.make_tensor_value_info("y", 1, None)], constants))


def taken(model: bytes) -> list[int]:
    return [size for turn in liveness(read_graph(model)).turns for size in workspace(turn)]


def test_a_convolution_of_integers_takes_pointers_or_int32_results() -> None:
    assert taken(quantized(16, 32)) == [8 * 9 * 64]
    assert taken(quantized(16, 32, stride=2)) == [8 * 9 * 16]
    assert taken(quantized(3, 32)) == [4 * 32 * 64, 3 * 9 * 64], "three channels don't fit its packed kernels"
    assert taken(quantized(32, 32, group=32)) == [8 * 9 * 64]
    assert taken(quantized(24, 24, group=24)) == [4 * 24 * 64, 8 * 9 * 64]
    assert taken(quantized(32, 32, group=2)) == [4 * 32 * 64, 16 * 9 * 64]
    assert taken(quantized(16, 32, window=1)) == []
    assert taken(quantized(16, 12, window=1)) == [4 * 12 * 64]
    assert taken(quantized(16, 32, window=1, stride=2)) == [8 * 1 * 16]


def test_one_of_floats_takes_none() -> None:
    convolution = helper.make_node("Conv", ["x", "w"], ["y"])
    stated = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = save(helper.make_graph([convolution], "g", [floats("x", 1, 16, 8, 8)], stated, [weight("w", 32, 16, 3, 3)]))
    assert taken(graph) == []
    found = memory(read_graph(graph))
    # its result is the caller's; 256 is the least that an arena hands out
    assert found.activations == 4 * (16 * 64 + 32 * 36) + 256
    assert found.alive == 4 * (16 * 64 + 32 * 36)


def test_what_can_not_be_told_is_refused() -> None:
    with pytest.raises(GraphRejected):
        memory(read_graph(branches()))


# measured


def one_node() -> bytes:
    return save(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [floats("x", 1, 4)], [floats("y", 1, 4)]))


def assert_near(graph: bytes, folder: Path) -> None:
    """Within 20 % or 1 MB of what is measured, above a session on a graph of one node."""
    told = memory(read_graph(graph)).activations
    taken = []
    for at, data in enumerate((graph, one_node())):
        (folder / f"{at}.onnx").write_bytes(data)
        taken.append(measured(folder / f"{at}.onnx"))
    found = taken[0] - taken[1]
    assert abs(told - found) <= max(0.2 * found, 1e6), f"{told} bytes were told, {found} measured"


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*.edgecnn")), ids=lambda path: path.stem)
def test_what_is_told_of_shipped_models_is_what_is_measured(path: Path, tmp_path: Path) -> None:
    with open_bundle(path) as bundle:
        assert_near(bundle.read("model.onnx"), tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", ["mobilenetv2", "resnet18"])
def test_what_is_told_of_larger_nets_is_what_is_measured(name: str, tmp_path: Path) -> None:
    import edgecnn
    from edgecnn.artifact.spec import Preprocess, make_spec
    from edgecnn.train.nets import build_net

    net = build_net(name, num_classes=1000, in_channels=3, input_size=(224, 224)).eval()
    spec = make_spec(name=name, labels=tuple(f"class{i}" for i in range(1000)), preprocess=Preprocess(size=(224, 224)))
    path = edgecnn.export(net, spec, output=tmp_path / "net.edgecnn").path
    with open_bundle(path) as bundle:
        assert_near(bundle.read("model.onnx"), tmp_path)
