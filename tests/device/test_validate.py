"""Accuracy against a naive count, labels matched by name, and golden answers whose steps fail one by one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.records import ParityLimits
from edgecnn.artifact.spec import ModelSpec, Preprocess, Task, make_spec
from edgecnn.data.collection import Item
from edgecnn.device.golden import read_golden
from edgecnn.device.statistics import wilson
from edgecnn.device.validate import GoldenReport, accuracy, accuracy_report, check_golden, describe_limits, evaluate, evaluate_all
from edgecnn.errors import AccuracyFailed, ArtifactRejected, DataRejected, ImageRejected
from tests.fixtures.artifacts import color_artifact, encode, npy
from tests.fixtures.repack import repacked

LABELS = ("cat", "dog", "plane")
PRE = Preprocess(size=(2, 2), rescale_factor=1.0)


def _spec(task: Task = "single-label") -> ModelSpec:
    return make_spec(name="net", labels=LABELS, task=task, preprocess=PRE)


@dataclass
class Painted:
    """Images of one colour each; `echo` below answers with the colour, so that an image says what a model is to decide."""

    shown: list[tuple[int, ...]]
    targets: list[tuple[int, ...]]
    labels: tuple[str, ...] = LABELS
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.shown)

    def __iter__(self) -> Iterator[Item]:
        for i, (shown, target) in enumerate(zip(self.shown, self.targets, strict=True)):
            pixels = np.zeros((2, 2, 3), dtype=np.uint8)
            pixels[..., list(shown)] = 200
            yield Item(name=f"image{i}", source=pixels, target=target)


def echo(x: np.ndarray) -> np.ndarray:
    return x[:, :, 0, 0] / 10 - 5


def _singles(pairs: list[tuple[int, int]], **changes: Any) -> Painted:
    return Painted([(shown,) for shown, _ in pairs], [(target,) for _, target in pairs], **changes)


label = st.integers(0, 2)


@given(st.lists(st.tuples(label, label), min_size=1, max_size=40), st.integers(1, 3))
def test_accuracy_and_confusion_count_every_image_once(pairs: list[tuple[int, int]], threads: int) -> None:
    report = accuracy(echo, _singles(pairs), _spec(), threads=threads)
    right = sum(shown == target for shown, target in pairs)
    assert (report.count, report.correct) == (len(pairs), right)
    assert report.top1 == right / len(pairs)
    assert report.interval == wilson(right, len(pairs))
    for target in range(3):
        for shown in range(3):
            assert report.confusion[target][shown] == pairs.count((shown, target))
    for i, counts in enumerate(report.per_label):
        answered, true = [p for p in pairs if p[0] == i], [p for p in pairs if p[1] == i]
        both = pairs.count((i, i))
        assert counts.precision == (both / len(answered) if answered else None)
        assert counts.recall == (both / len(true) if true else None)


sets = st.sets(label).map(lambda s: tuple(sorted(s)))


@given(st.lists(st.tuples(sets, sets), min_size=1, max_size=30))
def test_multi_label_accuracy_wants_the_whole_set(pairs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    collection = Painted([shown for shown, _ in pairs], [target for _, target in pairs], multi_label=True)
    report = accuracy(echo, collection, _spec("multi-label"))
    assert report.correct == sum(shown == target for shown, target in pairs)
    assert report.confusion == ()
    for i, counts in enumerate(report.per_label):
        tp = sum(i in shown and i in target for shown, target in pairs)
        fp = sum(i in shown and i not in target for shown, target in pairs)
        fn = sum(i not in shown and i in target for shown, target in pairs)
        assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (tp, fp, fn)
        assert counts.f1 == (2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None)


def test_labels_are_matched_by_name_not_by_position() -> None:
    collection = _singles([(2, 0), (0, 1), (0, 1)], labels=("plane", "cat"))  # what is shown counts by the model's labels
    report = accuracy(echo, collection, _spec())
    assert report.correct == 3
    assert report.confusion == ((2, 0, 0), (0, 0, 0), (0, 0, 1))


def test_a_label_that_the_model_lacks_is_named() -> None:
    with pytest.raises(DataRejected, match=r"label 'truck', which net doesn't know; it knows cat, dog, plane"):
        accuracy(echo, _singles([(0, 0)], labels=("cat", "truck")), _spec())


@pytest.mark.parametrize(("task", "multi"), [("single-label", True), ("multi-label", False)])
def test_a_collection_of_the_other_kind_is_refused(task: Task, multi: bool) -> None:
    with pytest.raises(DataRejected, match="give a collection of the model's kind"):
        accuracy(echo, _singles([(0, 0)], multi_label=multi), _spec(task))


def test_images_without_labels_give_decisions_but_no_accuracy() -> None:
    unlabelled = Painted([(0,), (2,)], [(), ()], labels=())
    evaluation = evaluate(echo, unlabelled, _spec())
    assert evaluation.decisions.tolist() == [0, 2]
    assert evaluation.targets is None
    for attempt in (lambda: accuracy(echo, unlabelled, _spec()), lambda: accuracy_report(evaluation, _spec())):
        with pytest.raises(DataRejected, match="no labels"):
            attempt()


@pytest.mark.parametrize("target", [(), (0, 1)])
def test_one_image_without_its_one_label_is_named(target: tuple[int, ...]) -> None:
    with pytest.raises(DataRejected, match="image1 has no label or several"):
        accuracy(echo, Painted([(0,), (0,)], [(0,), target]), _spec())


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(DataRejected, match="no images"):
        accuracy(echo, _singles([]), _spec())


def test_an_unreadable_image_stops_the_measurement() -> None:
    class Broken(Painted):
        def __iter__(self) -> Iterator[Item]:
            yield Item(name="cat/broken.jpg", source=b"no image", target=(0,))

    with pytest.raises(ImageRejected, match=r"cat/broken\.jpg"):
        accuracy(echo, Broken([(0,)], [(0,)]), _spec())


def test_a_network_that_answers_nan_names_the_image() -> None:
    def sick(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, 2:, 0, 0] > 0, np.float32(np.nan), echo(x))

    with pytest.raises(AccuracyFailed, match="NaN or infinity for image1"):
        accuracy(sick, _singles([(0, 0), (2, 2), (0, 0)]), _spec())


def test_several_models_see_the_same_images_decoded_once() -> None:
    decoded = 0

    class Counted(Painted):
        def __iter__(self) -> Iterator[Item]:
            nonlocal decoded
            for item in super().__iter__():
                decoded += 1
                yield item

    seen: list[tuple[int, int]] = []
    collection = Counted([(i % 3,) for i in range(50)], [(0,)] * 50)
    first, second = evaluate_all(
        [echo, lambda x: -echo(x)], collection, _spec(), lambda done, total: seen.append((done, total)), batch=20, keep_logits=True
    )
    assert decoded == 50
    assert seen == [(20, 50), (40, 50), (50, 50)]
    assert first.names == second.names == tuple(f"image{i}" for i in range(50))
    assert first.logits is not None
    assert second.logits is not None
    assert np.array_equal(first.logits, -second.logits)
    assert first.correct.sum() == 17
    assert second.correct.sum() == 33  # the first of the two that share the highest


def test_the_batch_and_anything_with_logits_make_no_difference() -> None:
    class Session:
        def logits(self, x: np.ndarray) -> np.ndarray:
            return echo(x)

    pairs = [(i % 3, i % 2) for i in range(20)]
    reports = {
        accuracy_report(evaluate(model, _singles(pairs), _spec(), batch=batch), _spec()) for model in (echo, Session()) for batch in (1, 7, 64)
    }
    assert len(reports) == 1


def test_an_empty_report_is_no_success() -> None:
    report = replace(accuracy(echo, _singles([(0, 0)]), _spec()), count=0, correct=0)
    assert (report.top1, report.interval) == (0.0, (0.0, 1.0))


# Golden answers


def _check(path: Path) -> GoldenReport:
    with open_bundle(path) as bundle:
        return check_golden(bundle, threads=1)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return color_artifact(tmp_path / "colors.edgecnn")


@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_an_artifact_gives_its_golden_answers_whatever_its_batch(tmp_path: Path, batch: int | str) -> None:
    report = _check(color_artifact(tmp_path / "colors.edgecnn", batch=batch))
    assert report.passed
    assert [(step.name, step.samples, step.limit) for step in report.steps] == [
        ("golden image -> model input", 2, "exact"),
        ("input -> host's outputs", 2, "atol 0.0001"),
        ("input -> reference's answers", 2, "atol 1e-05 + rtol 1e-05, 100 % agreement"),
    ]


def _altered(artifact: Path, name: str, change: Callable[[np.ndarray], None], **manifest: Any) -> Path:
    """The artifact with one golden array changed in place."""
    with open_bundle(artifact) as bundle:
        array = getattr(read_golden(bundle), name)
    change(array)
    return repacked(artifact, {f"golden/{name}.npy": npy(array)}, **manifest)


def _bump(array: np.ndarray) -> None:
    array[1].flat[0] = np.nextafter(array[1].flat[0], np.float32(10))


def _shift(array: np.ndarray) -> None:
    array[1, 2] += 0.01


@pytest.mark.parametrize(("name", "change", "failing"), [("inputs", _bump, 0), ("outputs", _shift, 1), ("reference", _shift, 2)])
def test_each_step_fails_alone(artifact: Path, name: str, change: Callable[[np.ndarray], None], failing: int) -> None:
    report = _check(_altered(artifact, name, change))
    assert not report.passed
    assert [step.passed for step in report.steps] == [i != failing for i in range(3)]
    assert report.steps[failing].max_abs > 0
    assert report.steps[failing].message


def test_a_preprocessing_failure_names_the_image_and_how_much_differs(artifact: Path) -> None:
    step = _check(_altered(artifact, "inputs", _bump)).steps[0]
    assert step.message.startswith("golden/01.png gives 1 other values of 192")


def test_the_hosts_outputs_can_be_asked_for_exactly(artifact: Path) -> None:
    exact = _altered(artifact, "outputs", lambda _: None, outputs_atol=0.0)
    assert _check(exact).steps[1].limit == "exact"
    assert _check(exact).passed
    assert [step.passed for step in _check(_altered(exact, "outputs", _bump)).steps] == [True, False, True]


def test_a_reference_may_be_asked_for_by_agreement_alone(artifact: Path) -> None:
    limits = ParityLimits(min_agreement=0.5)

    def flip(array: np.ndarray) -> None:
        array[1] = -array[1]

    step = _check(_altered(artifact, "reference", flip, reference=limits)).steps[2]
    assert (step.passed, step.agreeing, step.limit) == (True, 1, "50 % agreement")
    assert not _check(_altered(artifact, "reference", flip, reference=replace(limits, min_agreement=0.51))).passed


def _rejected_arrays() -> list[tuple[str, bytes]]:
    outputs = np.zeros((2, 3), dtype=np.float32)
    pickled = npy(outputs).replace(b"<f4", b"|O ")
    return [
        ("golden/outputs.npy", npy(outputs.astype(np.float64))),
        ("golden/outputs.npy", npy(outputs.astype(">f4"))),
        ("golden/outputs.npy", npy(np.asfortranarray(outputs))),
        ("golden/outputs.npy", npy(np.zeros((2, 4), dtype=np.float32))),
        ("golden/outputs.npy", npy(np.zeros((3, 3), dtype=np.float32))),
        ("golden/outputs.npy", npy(np.zeros(6, dtype=np.float32))),
        ("golden/outputs.npy", npy(np.full((2, 3), np.nan, dtype=np.float32))),
        ("golden/outputs.npy", npy(outputs)[:-4]),
        ("golden/outputs.npy", npy(outputs) + b"\0\0\0\0"),
        ("golden/outputs.npy", pickled),
        ("golden/outputs.npy", b""),
        ("golden/reference.npy", npy(np.zeros((1, 3), dtype=np.float32))),
        ("golden/inputs.npy", npy(np.zeros((2, 3, 8, 9), dtype=np.float32))),
        ("golden/inputs.npy", npy(np.zeros((1, 3, 8, 8), dtype=np.float32))),
        ("golden/00.png", b"no image"),
    ]


@pytest.mark.parametrize(("name", "data"), _rejected_arrays())
def test_golden_members_that_do_not_fit_are_rejected(artifact: Path, name: str, data: bytes) -> None:
    with pytest.raises(ArtifactRejected, match=r"golden"):
        _check(repacked(artifact, {name: data}))


def test_an_artifact_without_golden_images_or_inputs_proves_nothing(artifact: Path) -> None:
    with pytest.raises(ArtifactRejected, match="nothing can be proved"):
        _check(repacked(artifact, {"golden/00.png": None, "golden/01.png": None}))
    none = {
        f"golden/{name}.npy": npy(np.zeros((0, *row), dtype=np.float32))
        for name, row in (("inputs", (3, 8, 8)), ("outputs", (3,)), ("reference", (3,)))
    }
    with pytest.raises(ArtifactRejected, match="nothing can be proved"):
        _check(repacked(artifact, {**none}))
    with pytest.raises(ArtifactRejected, match=r"no member 'golden/outputs\.npy'"):
        _check(repacked(artifact, {"golden/outputs.npy": None}))


_ARRAYS = {
    f"golden/{name}.npy": npy(np.ones((2, *row), dtype=np.float32)) for name, row in (("inputs", (3, 2, 2)), ("outputs", (3,)), ("reference", (3,)))
}


@given(st.integers(0, 127), st.binary(min_size=1, max_size=12))
def test_no_header_of_an_array_does_harm(at: int, found: bytes) -> None:
    data = bytearray(_ARRAYS["golden/outputs.npy"])
    data[at : at + len(found)] = found
    members = {**_ARRAYS, "golden/outputs.npy": bytes(data), "golden/00.png": encode(np.zeros((2, 2, 3), dtype=np.uint8))}
    bundle: Any = SimpleNamespace(path="x.edgecnn", manifest=SimpleNamespace(spec=_spec()), names=tuple(members), read=members.__getitem__)
    try:
        golden = read_golden(bundle)
    except ArtifactRejected:
        return
    assert golden.outputs.shape == (2, 3)


def test_an_array_that_claims_to_be_huge_is_refused_unread() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }".ljust(117) + b"\n"
    members = {**_ARRAYS, "golden/outputs.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header}
    bundle: Any = SimpleNamespace(path="x.edgecnn", manifest=SimpleNamespace(spec=_spec()), names=tuple(members), read=members.__getitem__)
    with pytest.raises(ArtifactRejected, match="doesn't fit its shape"):
        read_golden(bundle)


def test_limits_are_told_in_words() -> None:
    assert describe_limits(ParityLimits(atol=0.0)) == "exact"
    assert describe_limits(ParityLimits(rtol=0.5, min_agreement=0.985)) == "rtol 0.5, 98.5 % agreement"
