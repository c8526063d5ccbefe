"""The curves of a training, from metrics.jsonl and from a checkpoint's header, without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifact.codec import encode
from edgecnn.artifact.records import EpochMetrics
from edgecnn.errors import InputMissing, RecordRejected
from edgecnn.report.curves import read_history
from edgecnn.report.subject import read_artifact
from tests.fixtures.artifacts import color_spec

MODELS = Path(__file__).parents[2] / "models"
SPEC = color_spec()
EPOCHS = (
    EpochMetrics(epoch=1, loss=2.0, accuracy=0.4, learning_rate=0.1),
    EpochMetrics(epoch=2, loss=1.0, accuracy=0.6, learning_rate=0.05, validation_loss=1.1, validation_accuracy=0.5),
)


def lines(*epochs: EpochMetrics) -> bytes:
    return "".join(json.dumps(encode(epoch)) + "\n" for epoch in epochs).encode()


def safetensors(metadata: Any, *, tensors: bytes = b"\0" * 16) -> bytes:
    header = json.dumps({"__metadata__": metadata, "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + tensors


def checkpoint(**changed: Any) -> bytes:
    said = {"format_version": 1, "spec": encode(SPEC), "history": [encode(epoch) for epoch in EPOCHS], **changed}
    return safetensors({"edgecnn": json.dumps(said)})


def test_metrics_and_a_checkpoint_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(lines(*EPOCHS))
    (tmp_path / "last.safetensors").write_bytes(checkpoint())
    assert read_history(tmp_path / "metrics.jsonl", SPEC) == read_history(tmp_path / "last.safetensors", SPEC) == EPOCHS


def test_what_training_wrote_of_the_shipped_models_is_read() -> None:
    checkpoints = sorted(MODELS.glob("*/model.safetensors"))
    assert len(checkpoints) >= 2
    for path in checkpoints:
        spec = read_artifact(next(path.parent.glob("*.edgecnn"))).manifest.spec
        history = read_history(path, spec)
        assert [epoch.epoch for epoch in history] == list(range(1, len(history) + 1))
        assert history[-1].validation_accuracy is not None
        assert history[-1].loss < history[0].loss


def test_another_model_s_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for spec in ({**encode(SPEC), "name": "other"}, {**encode(SPEC), "labels": ["cat", "dog"]}):
        path.write_bytes(checkpoint(spec=spec))
        with pytest.raises(RecordRejected, match="'colors' with its labels was wanted"):
            read_history(path, SPEC)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "records no epoch"),
        (b"\n\n", "records no epoch"),
        (checkpoint(history=[]), "records no epoch"),
        (b"no json\n", "is no record of a training"),
        (b'{"epoch": 1}\n', "is missing"),
        (lines(EPOCHS[0]) + b'{"epoch": 2, "loss": NaN, "accuracy": 1, "learning_rate": 0}\n', "NaN, which is no JSON number"),
        (b'{"epoch": 1, "loss": "low", "accuracy": 1, "learning_rate": 0}\n', "a number was wanted"),
        (lines(EPOCHS[1], EPOCHS[0]), "it says 1, more than 2 was wanted"),
        (lines(EPOCHS[0], EPOCHS[0]), "it says 1, more than 1 was wanted"),
        (lines(EPOCHS[0])[:-9], "is no record of a training"),
        (safetensors({"format": "pt"}), "without what `edgecnn train` writes"),
        (safetensors({"edgecnn": "[]"}), "'colors' with its labels was wanted"),
        (checkpoint(history={}), "it is no list"),
        (struct.pack("<Q", 1 << 60) + b"{", "is no record of a training"),
        (struct.pack("<Q", 0) + b"{", "is no record of a training"),
        (b"PK\x03\x04" + b"\0" * 100, "is no record of a training"),
        (b"[" * 200_000, "is no record of a training"),
    ],
)
def test_what_is_no_record_of_a_training_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordRejected) as caught:
        read_history(path, SPEC)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.jsonl doesn't exist"):
        read_history(tmp_path / "gone.jsonl", SPEC)
    with pytest.raises(RecordRejected, match="no regular file"):
        read_history(tmp_path, SPEC)


def test_the_weights_of_a_checkpoint_are_not_read(tmp_path: Path) -> None:
    """A header at the start of a file that claims terabytes costs nothing."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(checkpoint())
        file.truncate(1 << 40)
    assert read_history(path, SPEC) == EPOCHS
