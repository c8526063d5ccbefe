"""`edgecnn verify`: is a file whole and unaltered, and with --deep, is its model fit to be run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.cli import main
from edgecnn.device import trial
from tests.attacks.make import archive, listed, members_of, sorted_files
from tests.fixtures.artifacts import color_artifact, npy, tiny_artifact
from tests.fixtures.graphs import tiny_classifier


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_artifact(tmp_path / "tiny.edgecnn")


def verify(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["verify", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    if code:
        assert out == ""
        assert err.count("\n") == 1
        return err
    assert err == ""
    return out


def with_members(artifact: Path, **changes: bytes) -> Path:
    """Other members, honestly listed; names as `golden__inputs` for golden/inputs.npy."""
    ends = {"golden": ".npy", "report": ".json", "model": ".onnx"}
    members = {name.replace("__", "/") + ends[name.partition("__")[0]]: content for name, content in changes.items()}
    artifact.write_bytes(archive(sorted_files(listed({**members_of(artifact.read_bytes()), **members}))))
    return artifact


def test_a_whole_artifact_is_told_in_two_lines(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = verify(capsys, artifact).splitlines()
    assert first == f"tiny 1.0.0, sequence 0: 8 members, {artifact.stat().st_size:,} bytes, whole and unaltered"
    assert second == f"model.onnx sha256 {hashlib.sha256(members_of(artifact.read_bytes())['model.onnx']).hexdigest()}"


def test_json_tells_the_same(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, Any] = json.loads(verify(capsys, artifact, "--json"))
    digest = hashlib.sha256(members_of(artifact.read_bytes())["model.onnx"]).hexdigest()
    assert facts.pop("signed_by") is None
    assert facts == {
        "schema": 1,
        "file": str(artifact),
        "name": "tiny",
        "version": "1.0.0",
        "sequence": 0,
        "members": 8,
        "bytes": artifact.stat().st_size,
        "model_sha256": digest,
        "validated": True,
        "verified": True,
        "deep": False,
    }


def test_deep_tries_the_model(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gives its golden answers" in verify(capsys, artifact, "--deep")
    assert json.loads(verify(capsys, artifact, "--deep", "--json"))["deep"] is True


def test_a_model_with_other_answers_is_whole_but_not_fit(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_members(artifact, model=tiny_classifier(seed=1))
    assert "whole and unaltered" in verify(capsys, artifact)
    assert "falls short in the step input -> host's outputs" in verify(capsys, artifact, "--deep", code=3)


def test_nothing_is_tried_where_it_is_not_whole(artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "try_model", None)
    artifact.write_bytes(artifact.read_bytes()[:-1])
    assert "cut short" in verify(capsys, artifact, "--deep", code=3)


def test_an_artifact_packed_by_force_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forced = color_artifact(tmp_path / "forced.edgecnn", force=True)
    assert "packed by force" in verify(capsys, forced)
    assert json.loads(verify(capsys, forced, "--json"))["validated"] is False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"golden__inputs": b"no array"}, r"golden/inputs.npy"),
        ({"golden__outputs": npy(np.zeros((2, 9), np.float32))}, "golden/outputs.npy"),
        ({"report": b"{}\n"}, "report.json"),
        ({"report": b'{\n  "golden": [],\n  "layers": [],\n  "stages": []\n}\n'}, "its report names none"),
        ({"model": b"no graph"}, "graph"),
    ],
)
def test_members_that_can_not_be_read_are_refused(artifact: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, bytes], said: str) -> None:
    assert said in verify(capsys, with_members(artifact, **changes), code=3)


def test_it_needs_no_runtime_unless_it_is_deep(artifact: Path) -> None:
    import subprocess
    import sys

    script = "import sys; from edgecnn.cli import main; main(sys.argv[1:]); print(sorted({'onnxruntime', 'PIL', 'torch', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script, "verify", str(artifact)], capture_output=True, text=True)
    assert done.stdout.endswith("\n[]\n"), done.stderr
