"""What export starts from: each kind gives the network's own answers and a spec that fits, or says in a sentence why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgecnn.artifact.spec import Preprocess, make_spec
from edgecnn.build.export import export_module
from edgecnn.build.source import open_source
from edgecnn.device.engines import open_graph
from edgecnn.errors import CheckpointRejected, InputMissing, SourceRejected, UsageError
from edgecnn.train.checkpoint import Checkpoint, Header, save_checkpoint
from edgecnn.train.nets import build_net
from edgecnn.train.recipe import NetConfig
from tests.build.conftest import Small
from tests.fixtures.modules import NETS

Images = Callable[..., NDArray[np.float32]]
Make = Callable[..., onnx.ModelProto]
SIZE = (3, 12, 10)


def answers(module: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return module.eval()(torch.tensor(x)).numpy()


# a module


def test_a_module_answers_as_in_eval_mode_and_stays_in_train_mode(small: nn.Module, images: Images) -> None:
    x = images(3, *SIZE)
    expected = answers(small, x)
    small.train()
    source = open_source(small, input_size=SIZE)
    np.testing.assert_allclose(source.logits(x), expected, rtol=1e-6, atol=1e-6)
    assert small.training
    assert source.module is not small


def test_training_on_does_not_reach_an_opened_source(small: nn.Module, images: Images) -> None:
    source = open_source(small, input_size=SIZE)
    before = source.logits(images(1, *SIZE))
    with torch.no_grad():
        small.fc.weight.zero_()
    np.testing.assert_array_equal(source.logits(images(1, *SIZE)), before)


def test_what_is_not_said_is_filled_in_and_noted(small: nn.Module) -> None:
    source = open_source(small, input_size="12x10")
    assert source.spec.name == "small"
    assert source.spec.labels == ("class0", "class1", "class2", "class3")
    assert source.spec.input.shape == (1, 3, 12, 10)
    assert source.spec.preprocess == Preprocess(size=(12, 10))
    assert any("nothing was said of its preprocessing" in note for note in source.notes)


def test_all_that_is_said_stands_in_the_spec(small: nn.Module) -> None:
    source = open_source(
        small,
        labels=["a", "b", "c", "d"],
        preprocess="size=12x10,mean=0.5,0.5,0.5,std=0.2,0.2,0.2",
        name="leaf",
        version="3.1",
        sequence=7,
        task="multi-label",
        thresholds=[0.5, 0.4, 0.3, 0.2],
        batch="dynamic",
    )
    spec = source.spec
    assert (spec.name, spec.version, spec.sequence, spec.task, spec.batch) == ("leaf", "3.1", 7, "multi-label", None)
    assert spec.postprocess.thresholds == (0.5, 0.4, 0.3, 0.2)
    assert spec.preprocess.image_std == (0.2, 0.2, 0.2)
    assert not source.notes


def test_a_spec_from_python_is_kept(small: nn.Module) -> None:
    spec = make_spec(name="mine", labels=tuple("wxyz"), preprocess=Preprocess(size=(12, 10), channels="BGR"), batch=3)
    assert open_source(small, spec=spec).spec == spec


def test_labels_that_do_not_match_the_outputs_name_both_numbers(small: nn.Module) -> None:
    with pytest.raises(UsageError, match="There are 2 labels, the network has 4 outputs"):
        open_source(small, input_size=SIZE, labels="cat,dog")


def test_labels_twice_are_refused_in_a_sentence(small: nn.Module) -> None:
    with pytest.raises(UsageError, match="labels must differ"):
        open_source(small, input_size=SIZE, labels="a,b,c,a")


def test_an_unknown_size_is_asked_for(small: nn.Module) -> None:
    with pytest.raises(UsageError, match="input size isn't known; give it"):
        open_source(small)


def test_sizes_that_disagree_are_told_apart(small: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"makes 3 x 12 x 10 .*the input size that was asked for is 32 x 32"):
        open_source(small, preprocess="size=12x10", input_size="32x32")
    with pytest.raises(SourceRejected, match=r"fails on an input of shape \[1, 1, 12, 10\]: .*to have 3 channels, but got 1"):
        open_source(small, input_size="1x12x10")


def test_a_size_that_the_network_can_not_take(images: Images) -> None:
    with pytest.raises(SourceRejected, match=r"fails on an input of shape \[1, 3, 31, 31\]: RuntimeError: mat1 and mat2 .* is the size right"):
        open_source(NETS["non-square input"].build(), input_size=(31, 31))


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), r"features\.0\.weight holds NaN"), (float("inf"), r"features\.0\.weight holds NaN or infinite")]
)
def test_weights_that_are_no_numbers_are_named(small: nn.Module, value: float, words: str) -> None:
    with torch.no_grad():
        small.features[0].weight[0, 0, 0, 0] = value
    with pytest.raises(SourceRejected, match=words):
        open_source(small, input_size=SIZE)


def test_a_buffer_of_nan_is_named_and_one_of_infinities_is_none_of_ours(small: nn.Module) -> None:
    small.register_buffer("mask", torch.full((3,), float("-inf")))
    assert open_source(small, input_size=SIZE)
    small.features[1].running_var[0] = float("nan")
    with pytest.raises(SourceRejected, match=r"features\.1\.running_var holds NaN"):
        open_source(small, input_size=SIZE)


def test_other_precisions_become_float32_with_a_note(small: nn.Module, images: Images) -> None:
    expected = answers(small, images(2, *SIZE))
    source = open_source(small.double(), input_size=SIZE)
    np.testing.assert_allclose(source.logits(images(2, *SIZE)), expected, rtol=1e-5, atol=1e-5)
    assert "its weights were float64; they are exported as float32" in source.notes
    assert next(small.parameters()).dtype == torch.float64


def test_two_outputs_are_named_until_one_is_chosen(images: Images) -> None:
    module = NETS["two outputs"].build()
    with pytest.raises(SourceRejected, match=r"has 2 outputs \(classes, embedding\); one of logits was wanted"):
        open_source(module, input_size=(32, 32))
    with pytest.raises(UsageError, match="Output 2 was asked for, the network has 2: classes, embedding"):
        open_source(module, input_size=(32, 32), output_index=2)
    x = images(2, 3, 32, 32)
    with torch.no_grad():
        expected = module(torch.tensor(x))["embedding"].numpy()
    np.testing.assert_allclose(open_source(module, input_size=(32, 32), output_index=1).logits(x), expected, rtol=1e-5, atol=1e-6)


def test_answers_of_one_pixel_are_flattened_with_a_note() -> None:
    source = open_source(NETS["one feature"].build(), input_size=(32, 32))
    assert len(source.spec.labels) == 4
    assert "its answers (1, 4, 1, 1) are flattened to (batch, 4)" in source.notes


class Answering(nn.Module):
    def __init__(self, answer: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x, r"answered with shape \(1, 3, 8, 8\); \(batch, labels\) was wanted"),
        (lambda x: x.mean((1, 2, 3)), r"answered with shape \(1,\)"),
        (lambda x: x.mean((2, 3)).argmax(1), "answers with int64; float32 logits were wanted"),
        (lambda x: x.mean((2, 3)) / 0, "answers NaN or infinity to an ordinary input"),
        (lambda x: x.mean((2, 3)) + torch.rand(3), "something in forward is random"),
        (lambda x: [1, 2], "answers with a list; a tensor of logits was wanted"),
        (lambda x, y: x, "fails on an input of shape .*TypeError.*missing 1 required positional argument"),
    ],
)
def test_what_is_no_classifier_is_refused_in_a_sentence(answer: Callable[..., Any], words: str) -> None:
    with pytest.raises(SourceRejected, match=words):
        open_source(Answering(answer), input_size=(8, 8))


def test_probabilities_are_noted() -> None:
    source = open_source(Answering(lambda x: x.mean((2, 3)).softmax(1)), input_size=(8, 8))
    assert any("look like probabilities" in note for note in source.notes)


def test_a_lazy_layer_is_named_and_not_settled() -> None:
    module = nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SourceRejected, match=r"0\.weight has no shape yet"):
        open_source(module, input_size=SIZE)
    assert torch.nn.parameter.is_lazy(module[0].weight)


def test_a_network_of_four_channels_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SourceRejected, match=r"takes 4 channels; 3 .* or 1 .* were wanted"):
        open_source(module, input_size=(4, 8, 8))
    with pytest.raises(SourceRejected, match="to have 4 channels, but got 3 channels"):
        open_source(module, input_size=(8, 8))


def test_layers_may_be_defined_in_any_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Conv2d(8, 2, 1), nn.Conv2d(3, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)).mean((2, 3))

    assert open_source(Backwards(), input_size=(8, 8)).spec.input.shape == (1, 3, 8, 8)


def test_wrappers_are_taken_off(small: nn.Module, images: Images) -> None:
    expected = answers(small, images(1, *SIZE))
    np.testing.assert_allclose(open_source(nn.DataParallel(small), input_size=SIZE).logits(images(1, *SIZE)), expected, rtol=1e-6, atol=1e-6)


def test_torchscript_is_refused(small: nn.Module, recwarn: pytest.WarningsRecorder) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(small, torch.zeros(1, *SIZE))
    with pytest.raises(SourceRejected, match="TorchScript"):
        open_source(scripted, input_size=SIZE)


@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 3, 10, 12), (0, 3, 12, 10)])
def test_logits_takes_only_what_the_network_takes(small: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="float32 of shape"):
        open_source(small, input_size=SIZE).logits(np.zeros(shape, np.float32))


# a checkpoint of ours


def test_a_checkpoint_brings_its_spec_its_licences_and_its_recipe(tmp_path: Path, images: Images) -> None:
    options = {"channels": (3,), "hidden": ()}
    net = build_net("simplecnn", num_classes=2, in_channels=3, input_size=(8, 8), options=options)
    spec = make_spec(name="tiny", labels=("a", "b"), preprocess=Preprocess(size=(8, 8)), sequence=4)
    header = Header(
        spec=spec,
        net=NetConfig(name="simplecnn", options=options),
        epoch=1,
        epochs=1,
        steps_per_epoch=1,
        threads=1,
        recipe_sha256="ab" * 32,
        seed=0,
        license="MIT",
    )
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(header=header, weights=net.state_dict()))
    source = open_source(tmp_path / "c.safetensors")
    assert source.spec == spec
    assert source.licenses == {"model": "MIT"}
    assert source.recipe_sha256 == "ab" * 32
    np.testing.assert_allclose(source.logits(images(2, 3, 8, 8)), answers(net, images(2, 3, 8, 8)), rtol=1e-6, atol=1e-6)
    assert open_source(tmp_path / "c.safetensors", name="other", sequence=5, labels="x,y").spec.labels == ("x", "y")
    with pytest.raises(UsageError, match=r"makes 3 x 8 x 8 .*the input size that was asked for is 16 x 16"):
        open_source(tmp_path / "c.safetensors", input_size="16x16")
    with pytest.raises(UsageError, match="belong to package"):
        open_source(tmp_path / "c.safetensors", weights="w.safetensors")


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.ckpt"])
def test_a_pickle_as_a_source_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(CheckpointRejected, match=f"is a pickle.*file.py:callable --weights {name} --allow-pickle"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("text", ["gone.safetensors", "gone.onnx", "gone", "some/folder/net.pt2"])
def test_a_missing_file_is_named(text: str) -> None:
    with pytest.raises(InputMissing, match=text):
        open_source(text)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"TFL3")
    (tmp_path / "net.py").touch()
    with pytest.raises(UsageError, match=r"net\.py is code; say which class or function in it makes the network"):
        open_source(tmp_path / "net.py")
    with pytest.raises(UsageError, match="is no source"):
        open_source(tmp_path / "net.tflite")
    with pytest.raises(UsageError, match="A dict is no source"):
        open_source({})  # type: ignore[arg-type]


# an exported program


@pytest.fixture
def program(small: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "small.pt2"
    exported = torch.export.export(small, (torch.zeros(2, *SIZE),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(exported, path)
    return path


def test_a_program_is_code_and_needs_trust(program: Path) -> None:
    with pytest.raises(UsageError, match=r"can run any code; if you trust where it is from, say so \(--trust-source\)"):
        open_source(program)


@pytest.mark.parametrize("batch", [1, "dynamic"])
def test_a_trusted_program_is_exported(program: Path, small: nn.Module, images: Images, batch: int | str) -> None:
    source = open_source(program, trust_source=True, batch=batch)
    assert source.spec.input.shape == ("batch" if batch == "dynamic" else 1, *SIZE)
    assert source.spec.name == "small"
    x = images(1, *SIZE)
    np.testing.assert_allclose(source.logits(x), answers(small, x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(open_graph(export_module(source)).run_one(x), answers(small, x), rtol=1e-5, atol=1e-5)


def test_a_program_that_trains_is_refused(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Small().train(), (torch.zeros(2, *SIZE),)), tmp_path / "training.pt2")
    with pytest.raises(SourceRejected, match="captured in train mode"):
        open_source(tmp_path / "training.pt2", trust_source=True, batch=2)


def test_a_program_of_a_fixed_batch_takes_no_other(small: nn.Module, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(small, (torch.zeros(2, *SIZE),)), tmp_path / "two.pt2")
    with pytest.raises(SourceRejected, match="frozen at 2, a batch of 1 was asked for"):
        open_source(tmp_path / "two.pt2", trust_source=True)


def test_a_damaged_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.pt2").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(SourceRejected, match=r"broken\.pt2 is no program"):
        open_source(tmp_path / "broken.pt2", trust_source=True)


# an .onnx

WITNESS = """
import atexit, os, sys, tempfile
def tell():
    with open(os.path.join(os.environ["WITNESS"], str(os.getpid())), "w") as file:
        file.write("torch" if sys.modules.get("torch") else "none")
atexit.register(tell)
"""

ONNX_ROAD = """
import sys
import numpy as np
from edgecnn.build.export import export_module
from edgecnn.build.simplify import simplify
from edgecnn.build.source import open_source
source = open_source("net.onnx", preprocess="unit", labels="a,b,c,d,e")
x = np.zeros((2, 3, 8, 8), np.float32)
simple = simplify(export_module(source), check_inputs=x)
assert simple.note is None, simple.note
assert source.logits(x).shape == (2, 5)
"""


def test_the_road_of_an_onnx_never_imports_torch_nor_do_its_children(unfolded: Make, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(unfolded().SerializeToString())
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WITNESS)
    (tmp_path / "witness").mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{Path(__file__).parents[2]}", "WITNESS": str(tmp_path / "witness")}
    subprocess.run([sys.executable, "-c", ONNX_ROAD], cwd=tmp_path, env=environment, check=True, timeout=300)
    told = [file.read_text() for file in (tmp_path / "witness").iterdir()]
    assert len(told) >= 2
    assert set(told) == {"none"}
