"""Artifacts that are sound, and ways to spoil one stage of the road that makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.pack import pack
from edgecnn.artifact.spec import ModelSpec, Preprocess, make_spec
from edgecnn.build import pipeline, quantizing
from edgecnn.build.blame import Blame, StageRow, blame, rebuilt
from edgecnn.build.simplify import Simplified
from tests.fixtures.onnx_nets import COLORS, color_folder, color_net

PREPROCESS = "size=16x16"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with colors.onnx, calibration and other images."""

    folder: Path

    @property
    def reference(self) -> Path:
        return self.folder / "net.onnx"

    @property
    def spec(self) -> ModelSpec:
        return make_spec(name="net", labels=COLORS, preprocess=Preprocess(size=(16, 16), image_mean=(0.0,) * 3, image_std=(1.0,) * 3))

    def export(self, output: Path, quantize: str = "int8", **options: Any) -> Path:
        """An artifact of the reference, packed whatever its answers are."""
        given = {"preprocess": PREPROCESS, "labels": COLORS, "calibration": self.folder / "some", "validation": self.folder / "others"}
        return pipeline.export(self.reference, output=output, quantize=quantize, force=True, **{**given, **options}).path

    def blame(self, file: Path, **options: Any) -> Blame:
        """On 24 images, with the calibration images unless they are left away."""
        given = {"preprocess": PREPROCESS, "data": self.folder / "others", "calibration": self.folder / "some", "images": 24}
        return blame(file, self.reference, **{name: value for name, value in {**given, **options}.items() if value is not None})


@pytest.fixture(scope="package")
def place(tmp_path_factory) -> Place:
    folder = tmp_path_factory.mktemp("blame")
    (folder / "net.onnx").write_bytes(color_net(batch="batch"))
    color_folder(folder / "some", 24, seed=1)
    color_folder(folder / "others", 60, seed=2, size=(40, 48))
    return Place(folder=folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without onnxsim's child, which takes seconds."""
    for module in (pipeline, rebuilt):
        monkeypatch.setattr(module, "simplify", lambda model, **_: Simplified(model=model))


@pytest.fixture
def spoil(monkeypatch) -> Callable[..., None]:
    """spoil(stage, change, where): from now on a stage's graph is what `change` makes of it, in `where`: (pipeline,), or (pipeline, rebuilt)."""

    def install(stage: str, change: Callable[[onnx.ModelProto], None], where: tuple[Any, ...]) -> None:
        name = {"export": "export_module", "simplify": "simplify", "quantize": "run_quantizer"}[stage]
        for module in where:
            if module is pipeline and stage == "quantize":
                module = quantizing  # where the pipeline has it done
            sound = getattr(module, name)

            def spoiled(*arguments: Any, sound: Any = sound, **keywords: Any) -> Any:
                made = sound(*arguments, **keywords)
                if isinstance(made, bytes):
                    return changed(made, change)
                return replace(made, model=changed(made.model, change))

            monkeypatch.setattr(module, name, spoiled)

    return install


def changed(model: bytes, change: Callable[[onnx.ModelProto], None]) -> bytes:
    proto = onnx.load_from_string(model)
    change(proto)
    return proto.SerializeToString(deterministic=True)


def wrong_padding(proto: onnx.ModelProto) -> None:
    node = next(node for node in proto.graph.node if node.op_type == "Conv")
    next(entry for entry in node.attribute if entry.name == "pads").ints[:] = [2, 2, 0, 0]


def transposed_weight(proto: onnx.ModelProto) -> None:
    """Of the second convolution, 8 x 8."""
    entry = next(entry for entry in proto.graph.initializer if tuple(entry.dims) == (8, 8, 1, 1))
    entry.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(entry).swapaxes(0, 1)), entry.name))


def bad_scale(factor: float, name: str = "t1_scale") -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        entry = next(entry for entry in proto.graph.initializer if entry.name == name)
        entry.CopyFrom(numpy_helper.from_array(np.asarray(numpy_helper.to_array(entry) * np.float32(factor)), name))

    return change


def repacked(artifact: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The artifact with another graph in it than the one that its report and its parity speak of."""
    with open_bundle(artifact) as bundle:
        model = changed(bundle.read("model.onnx"), change)
    return packed_again(artifact, model)


def packed_again(artifact: Path, model: bytes, members: Mapping[str, bytes] | None = None, **facts: Any) -> Path:
    """The artifact with `model` in it, and with these members and facts of the manifest in the place of its own."""
    with open_bundle(artifact) as bundle:
        manifest = bundle.manifest
        kept = {name: bundle.read(name) for name in bundle.names if name not in ("manifest.json", "model.onnx")}
    path = artifact.with_name("other.edgecnn")
    same = {name: getattr(manifest, name) for name in ("spec", "quantization", "opset", "ir_version", "limits", "parity", "tools", "licenses")}
    pack(path, model=model, members={**kept, **(members or {})}, edgecnn_version=manifest.edgecnn_version, force=True, **{**same, **facts})
    return path


def row(found: Blame, stage: str) -> StageRow:
    return next(row for row in found.stages if row.stage == stage)
