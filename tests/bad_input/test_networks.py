"""Networks that can't be exported: operators that ONNX or a device lacks, weights and answers that are no numbers, labels that don't match,
weights that lie outside, files that are no graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.graph import read_graph
from edgecnn.cli import main
from tests.attacks.bombs import BOMBS
from tests.bad_input.conftest import DESCRIBED, Refused

Change = Callable[[onnx.ModelProto], None]


def export(source: object, *more: object) -> list[object]:
    return ["export", source, "-o", "old.edgecnn", *more]


# code

CODE = """
import torch
from torch import nn

class Spectrum(nn.Module):
    def forward(self, x):
        return {operator}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.Sequential(nn.ReLU(), Spectrum())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.stages(self.stem(x)).mean((2, 3)))
"""


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("torch.linalg.eigvalsh(x @ x.transpose(2, 3)).unsqueeze(-1)", "eigh"),
        ("torch.special.bessel_j0(x)", "aten.special_bessel_j0"),
    ],
)
def test_an_operator_that_onnx_lacks_is_named_with_its_module(operator: str, name: str, workplace: Path, refused: Refused) -> None:
    (workplace / "net.py").write_text(CODE.format(operator=operator))
    said = refused(*export("net.py:Net", "--input-size", "8x8"), code=3)
    assert name in said
    assert "stages.1 (Spectrum)" in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("net.stem.weight.data[0, 0, 0, 0] = float('nan')", "stem.weight holds NaN"),
        ("net.head.bias.data[1] = float('inf')", "head.bias holds NaN or infinite"),
        ("net.stem.weight.data.fill_(3e38)", "answers NaN or infinity"),
        ("net.head = torch.nn.Linear(5, 2)", "fails on an input of shape [1, 3, 8, 8]"),
        ("return 'no network'", "gives a str; a torch.nn.Module"),
        ("raise ValueError('no\\nnet')", "raised ValueError: no (net.py, line"),
        ("import sys; sys.exit('not today')", "raised SystemExit: not today"),
    ],
)
def test_a_module_that_can_not_answer(line: str, says: str, workplace: Path, refused: Refused) -> None:
    (workplace / "net.py").write_text(CODE.format(operator="x") + f"\ndef made():\n    net = Net()\n    {line}\n    return net\n")
    assert says in refused(*export("net.py:made", "--input-size", "8x8"), code=3)


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("net.py:Nte", 3, "net.py has no Nte, did you mean Net?\n"),
        ("gone.py:Net", 3, "gone.py doesn't exist"),
        ("no.such.module:Net", 3, "no module no.such.module"),
        ("net.py", 2, "net.py:NAME"),
        ("broken.py:Net", 3, "Importing broken.py raised SyntaxError: '(' was never closed (broken.py, line 1). See docs/bring-your-own-model.md.\n"),
        ("net.py:Net", 2, "input size isn't known"),
    ],
)
def test_code_that_is_not_there(source: str, code: int, says: str, workplace: Path, refused: Refused) -> None:
    (workplace / "net.py").write_text(CODE.format(operator="x"))
    (workplace / "broken.py").write_text("class Net(\n")
    assert says in refused(*export(source), code=code) + "\n"


# graphs


@pytest.fixture
def graph(made: Path, workplace: Path) -> Callable[..., str]:
    """graph(change): the colour net with a change, as net.onnx."""

    def write(change: Change) -> str:
        proto = onnx.load(made / "colors.onnx")
        change(proto)
        (workplace / "net.onnx").write_bytes(proto.SerializeToString())
        return "net.onnx"

    return write


@pytest.mark.parametrize("bomb", ["tile-bomb", "outer-product-bomb", "many-at-once", "concat-doubling"])
def test_tensors_that_no_device_holds_are_not_made_here_either(bomb: str, graph: Callable[..., str], refused: Refused) -> None:
    said = refused(*export(graph(BOMBS[bomb]), *DESCRIBED), code=3)
    assert "net.onnx: The graph's node evil/" in said
    assert "where devices take" in said


def operator(name: str, domain: str = "") -> Change:
    def change(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "Relu")
        node.op_type, node.domain = name, domain
        if domain:
            proto.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def weight(value: float) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
        array = numpy_helper.to_array(tensor).copy()
        array[0, 0, 0, 0] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (operator("FastRelu", "vendor.ai"), "vendor.ai::FastRelu (node n1) is none of onnxruntime's own"),
        (operator("Normalizer", "ai.onnx.ml"), "ai.onnx.ml::Normalizer (node n1)"),
        (operator("NoSuchOperator", "com.microsoft"), "NoSuchOperator"),
        (operator("Frobnicate"), "Frobnicate"),
        (weight(float("nan")), "holds NaN values"),
        (weight(float("inf")), "NaN or infinity"),
        (weight(3e38), "NaN or infinity"),
    ],
)
def test_a_graph_that_no_device_can_answer_with(change: Change, says: str, graph: Callable[..., str], refused: Refused) -> None:
    assert says in refused(*export(graph(change), *DESCRIBED), code=3)


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x08\x08", bytes(1000), b"\x80\x02}q\x00."])
def test_what_is_no_graph(data: bytes, workplace: Path, refused: Refused) -> None:
    (workplace / "net.onnx").write_bytes(data)
    assert "net.onnx is no ONNX graph" in refused(*export("net.onnx"), code=3)


def test_a_graph_cut_short(made: Path, workplace: Path, refused: Refused) -> None:
    data = (made / "colors.onnx").read_bytes()
    (workplace / "net.onnx").write_bytes(data[: len(data) // 2])
    assert "net.onnx" in refused(*export("net.onnx"), code=3)


def test_a_file_of_no_known_kind_is_told_what_is_wanted(workplace: Path, refused: Refused) -> None:
    (workplace / "net.h5").write_bytes(b"HDF")
    assert "net.h5 is no source; a checkpoint (.safetensors), an .onnx, a .pt2" in refused(*export("net.h5"), code=2)
    assert "is no source" in refused(*export("."), code=2)


def test_a_pt2_is_code_and_needs_trust(workplace: Path, refused: Refused) -> None:
    (workplace / "net.pt2").write_bytes(b"no program")
    assert "--trust-source" in refused(*export("net.pt2"), code=2)
    assert "net.pt2 is no program" in refused(*export("net.pt2", "--trust-source"), code=3)


# labels


@pytest.mark.parametrize(
    ("labels", "code", "says"),
    [
        ("blue,green", 2, "There are 2 labels, the network has 3 outputs"),
        ("blue,green,red,grey", 2, "There are 4 labels, the network has 3 outputs"),
        ("blue,green,green", 2, "label"),
        ("blue,,red", 2, "label"),
        ("gone.txt", 3, "gone.txt can't be read"),
        ("two.txt", 2, "There are 2 labels, the network has 3 outputs"),
        ("binary.txt", 2, "binary.txt is no text"),
    ],
)
def test_labels_that_do_not_match_the_outputs(labels: str, code: int, says: str, made: Path, workplace: Path, refused: Refused) -> None:
    (workplace / "two.txt").write_text("blue\ngreen\n")
    (workplace / "binary.txt").write_bytes(b"\xff\xfe\x00\x01")
    assert says in refused(*export(made / "colors.onnx", "--labels", labels), code=code)


# external data


@pytest.fixture
def external(made: Path, workplace: Path) -> Callable[[str], str]:
    """external(location): the colour net as inside/net.onnx, its first weight in a file; that file is there as weights.bin in the folder,
    beside the folder, and behind a link."""

    def write(location: str) -> str:
        proto = onnx.load(made / "colors.onnx")
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.raw_data)
        data = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        (workplace / "inside" / "deep").mkdir(parents=True)
        for place in ("weights.bin", "inside/weights.bin", "inside/deep/weights.bin"):
            (workplace / place).write_bytes(data)
        os.symlink("../weights.bin", workplace / "inside" / "link.bin")
        os.symlink("..", workplace / "inside" / "up")
        (workplace / "inside" / "net.onnx").write_bytes(proto.SerializeToString())
        return "inside/net.onnx"

    return write


@pytest.mark.parametrize("location", ["weights.bin", "deep/weights.bin"])
def test_external_data_inside_the_folder_is_inlined(location: str, external: Callable[[str], str], made: Path, workplace: Path) -> None:
    assert main(["export", external(location), "-o", "new.edgecnn", *DESCRIBED, "--name", "colors"]) == 0
    assert main(["export", str(made / "colors.onnx"), "-o", "whole.edgecnn", *DESCRIBED]) == 0
    with open_bundle("new.edgecnn") as bundle:
        assert not any(tensor.external for tensor in read_graph(bundle.read("model.onnx")).initializers)
    assert (workplace / "new.edgecnn").read_bytes() == (workplace / "whole.edgecnn").read_bytes()


@pytest.mark.parametrize("location", ["../weights.bin", "ABSOLUTE", "link.bin", "up/weights.bin", "deep/../weights.bin", "./weights.bin", "", "deep"])
def test_external_data_outside_the_folder_or_behind_a_link_is_refused(
    location: str, external: Callable[[str], str], workplace: Path, refused: Refused
) -> None:
    location = location.replace("ABSOLUTE", str(workplace / "inside" / "weights.bin"))
    said = refused(*export(external(location), *DESCRIBED), code=3)
    assert "inside/net.onnx: " in said
    assert location in said


def test_external_data_that_is_missing_or_too_short_is_named(external: Callable[[str], str], workplace: Path, refused: Refused) -> None:
    source = external("weights.bin")
    (workplace / "inside" / "weights.bin").write_bytes(b"1234")
    assert "of 'weights.bin', which has 4" in refused(*export(source, *DESCRIBED), code=3)
    (workplace / "inside" / "weights.bin").unlink()
    assert "'weights.bin', which isn't beside it" in refused(*export(source, *DESCRIBED), code=3)
