"""What ships in models/: every folder is whole, its artifact proves itself, its card says what is so."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torch

from edgecnn.artifact.bundle import open_bundle
from edgecnn.data.collection import open_collection
from edgecnn.device.model import load
from edgecnn.device.validate import accuracy, check_golden
from edgecnn.errors import CheckpointRejected, InputMissing, RecipeError
from edgecnn.report.about import read_about
from edgecnn.report.card import card
from edgecnn.report.subject import read_artifact
from edgecnn.train.checkpoint import load_checkpoint
from edgecnn.train.recipe import load_recipe

ROOT = Path(__file__).parent.parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "models").glob("*/recipe.toml"))
MOST_BYTES = 40_000_000

LEAST_TEST_ACCURACY = {"simplecnn-fashion": 91.0, "resnet8-cifar10": 83.5}
"""In percent, on the data sets' own test images, which don't ship: the card tells it."""

LEAST_VALIDATION_ACCURACY = {"resnet8-cifar10": 0.83}
"""On the images in the folder validation/."""

each = pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])


def artifact_of(folder: Path) -> Path:
    (found,) = folder.glob("*.edgecnn")
    return found


def tables(document: str, section: str) -> list[list[str]]:
    """The cells of the table rows in a section of a card."""
    part = document.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]


def test_the_three_models_ship() -> None:
    assert {folder.name for folder in FOLDERS} == {"five", "resnet8-cifar10", "simplecnn-fashion"}


@each
def test_a_folder_is_whole(folder: Path) -> None:
    manifest = load(artifact_of(folder)).manifest
    assert manifest.spec.name == folder.name
    assert artifact_of(folder).name == f"{folder.name}-{manifest.spec.version}.edgecnn"
    assert manifest.quantization == "int8"
    assert manifest.licenses["model"] == "Apache-2.0"
    assert (folder / "card.md").stat().st_size > 2000
    assert any((folder / "samples").iterdir())


@each
def test_an_artifact_is_intact_and_gives_its_golden_answers_here(folder: Path) -> None:
    with open_bundle(artifact_of(folder)) as bundle:
        bundle.verify()
        assert bundle.manifest.validated
        report = check_golden(bundle, threads=1)
    assert report.passed, [step.message for step in report.steps]


@each
def test_int8_was_proved_on_enough_images(folder: Path) -> None:
    parity = load(artifact_of(folder)).manifest.parity
    assert parity is not None
    assert parity.samples >= 300
    assert parity.agreement >= 0.98


@each
def test_a_card_says_what_the_artifact_says(folder: Path) -> None:
    document = (folder / "card.md").read_text(encoding="utf-8")
    recipe = (folder / "recipe.toml").read_bytes()
    read = read_artifact(artifact_of(folder))
    written = card(read, about=read_about(folder / "about.md"), recipe=("recipe.toml", recipe))
    assert document.partition("\n## Accuracy\n")[0] == written.partition("\n## Accuracy\n")[0]
    assert (
        document.partition("\n## Preprocessing\n")[2].partition("\n## Limits\n")[0]
        == (written.partition("\n## Preprocessing\n")[2].partition("\n## Limits\n")[0])
    )
    assert hashlib.sha256(recipe).hexdigest() in document
    parity = read.manifest.parity
    assert parity is not None
    said = next(row for row in tables(document, "Parity") if row[0] == "int8")
    assert said[4] == f"{parity.agreeing:,} of {parity.samples:,} ({parity.agreement:.2%})".replace("%", " %")
    sizes = {row[0]: row[1] for row in tables(document, "Sizes")}
    assert sizes["artifact, bytes"] == f"{artifact_of(folder).stat().st_size:,}"
    assert sizes["model.onnx, bytes"] == f"{read.manifest.member('model.onnx').size:,}"


@each
def test_a_card_tells_float32_and_int8_on_the_same_images(folder: Path) -> None:
    rows = {row[0]: row for row in tables((folder / "card.md").read_text(encoding="utf-8"), "Accuracy")}
    told = {name: re.fullmatch(r"([\d,]+) of ([\d,]+)", rows[name][1]) for name in ("float32", "int8")}
    assert all(told.values())
    assert len({found[2] for found in told.values() if found}) == 1
    least = LEAST_TEST_ACCURACY.get(folder.name, 0.0)
    assert all(float(rows[name][2].removesuffix(" %")) >= least for name in told)


@each
def test_a_card_holds_no_path_of_a_machine(folder: Path) -> None:
    assert not re.search(r"(^|[\s`(])/(home|root|tmp|work|usr|Users)\b", (folder / "card.md").read_text(encoding="utf-8"))


@each
def test_samples_are_told_right(folder: Path) -> None:
    model = load(artifact_of(folder), threads=1)
    samples = [path for path in sorted((folder / "samples").glob("*/*")) if path.is_file()]
    assert len(samples) >= 2
    for path in samples:
        label = model.predict(path).label
        assert label is not None
        assert re.sub(r"[^a-z0-9]+", "-", label.lower()) == path.parent.name, path


CHECKPOINTS = sorted((ROOT / "models").glob("*/model.safetensors"))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=[path.parent.name for path in CHECKPOINTS])
def test_a_checkpoint_belongs_to_its_recipe_and_artifact(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    checkpoint.module()
    assert checkpoint.header.recipe_sha256 == load_recipe(path.parent / "recipe.toml").sha256
    with open_bundle(artifact_of(path.parent)) as bundle:
        assert checkpoint.spec == bundle.manifest.spec
        assert bundle.report().stages[0].configuration["recipe_sha256"] == checkpoint.header.recipe_sha256


def test_resnet8_is_as_good_as_it_should_be_on_the_images_that_ship() -> None:
    folder = ROOT / "models" / "resnet8-cifar10"
    model = load(artifact_of(folder), threads=1)
    report = accuracy(model, open_collection(folder / "validation", labels=model.spec.labels), model.spec)
    assert report.count == 1000
    assert report.top1 >= LEAST_VALIDATION_ACCURACY[folder.name]


@each
def test_calibration_images_are_apart_from_all_others(folder: Path) -> None:
    calibration, *others = ({hashlib.sha256(path.read_bytes()).digest() for path in (folder / kind).rglob("*.*")} for kind in _KINDS)
    assert all(calibration.isdisjoint(other) for other in others)


_KINDS = ("calibration", "validation", "samples")


def test_the_repository_stays_small() -> None:
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        files = [ROOT / name for name in listed if name]
    else:
        files = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    assert 1_000_000 < sum(path.stat().st_size for path in files if path.is_file()) < MOST_BYTES


# five: the classes of ImageNet folded into groups


@pytest.fixture(scope="module")
def network() -> ModuleType:
    path = ROOT / "models" / "five" / "network.py"
    spec = importlib.util.spec_from_file_location("five_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Head(torch.nn.Module):
    """Stands in for the network: `head` on the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(8, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(x)
        return found


def test_five_tells_a_cat_and_buildings() -> None:
    folder = ROOT / "models" / "five"
    model = load(artifact_of(folder), threads=1)
    assert model.spec.labels == ("cat", "dog", "plane", "fish", "building", "other")
    assert model.predict(folder / "samples" / "cat" / "chelsea.png").label == "cat"
    assert model.predict(folder / "samples" / "building" / "china.jpg").label == "building"


def test_the_photos_of_five_come_with_their_authors() -> None:
    folder = ROOT / "models" / "five"
    notice = (folder / "samples" / "NOTICE.txt").read_text(encoding="utf-8")
    for path in (folder / "samples").glob("*/*"):
        assert f"{path.parent.name}/{path.name}: " in notice
    document = (folder / "card.md").read_text(encoding="utf-8")
    assert all(said in document for said in ("danielbuechele", "CC-BY-2.0", "Stéfan van der Walt", "CC0-1.0"))


def test_softmax_over_the_groups_is_the_sum_of_softmax_over_their_classes(network: ModuleType) -> None:
    recipe = network.load_recipe()
    groups = network.rows_of(recipe["groups"], recipe["labels"])
    assert sorted(row for rows in groups for row in rows) == list(range(1000))
    torch.manual_seed(0)
    plain = Head().double()
    x = 20 * torch.randn(50, 8, dtype=torch.float64)
    with torch.no_grad():
        shares = torch.softmax(plain(x), dim=1)
        expected = torch.stack([shares[:, list(rows)].sum(dim=1) for rows in groups], dim=1)
        folded = torch.softmax(network.Folded(plain, groups)(x), dim=1)
    assert torch.allclose(folded, expected, rtol=1e-12, atol=1e-15)


def test_folding_survives_large_logits(network: ModuleType) -> None:
    plain = Head()
    with torch.no_grad():
        plain.head.weight.mul_(0)
        plain.head.bias.fill_(300.0)  # exp(300) is beyond float32
        groups = [range(0, 10), range(10, 1000)]
        found = network.Folded(plain, groups)(torch.zeros(1, 8))
    assert torch.allclose(found, 300 + torch.tensor([[10.0, 990.0]]).log())


def test_groups_that_overlap_or_leave_no_rest_are_refused(network: ModuleType) -> None:
    assert network.rows_of({"a": "0-2 5"}, ["a", "rest"])[0] == (0, 1, 2, 5)
    for groups, labels in [({"a": "0-2", "b": "2"}, ["a", "b", "rest"]), ({"a": "1000"}, ["a", "rest"]), ({"a": "0"}, ["a"]), ({}, ["a", "b"])]:
        with pytest.raises(RecipeError):
            network.rows_of(groups, labels)


def test_other_weights_than_the_recipe_s_are_refused(network: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"efficientnet-lite0-57934424\.pth of the package"):
        network.build(str(tmp_path / "none.pth"))
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(CheckpointRejected, match="isn't the file"):
        network.build(str(tmp_path / "other.pth"))
