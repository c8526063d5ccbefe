"""--memory-limit and --target of `inspect` and `export`: a model that won't fit is warned of, and made all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecnn.cli import main
from tests.fixtures.artifacts import color_artifact
from tests.fixtures.onnx_nets import residual
from tests.fixtures.probes import probe_file


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(color_artifact(tmp_path_factory.mktemp("artifact") / "colors.edgecnn"))


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["inspect", *arguments])
    return code, *capsys.readouterr()


def test_inspect_tells_the_memory_of_activations_and_of_the_process(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(inspect(capsys, artifact, "--json")[1])["memory"]
    assert list(found) == ["activations_bytes", "alive_bytes", "at", "process_bytes", "unknown"]
    assert 0 < found["alive_bytes"] <= found["activations_bytes"] < found["process_bytes"] < 100_000_000
    (line,) = [line for line in inspect(capsys, artifact)[1].splitlines() if line.startswith("memory ")]
    assert f"most at {found['at']}" in line
    (tmp_path / "net.onnx").write_bytes(residual(size=16))
    assert json.loads(inspect(capsys, str(tmp_path / "net.onnx"), "--json")[1])["memory"]["alive_bytes"] == 3 * 4 * 16**3


@pytest.mark.parametrize(
    ("limit", "fits"),
    [("64MB", False), ("64 MiB", False), ("64000", False), ("0.01gb", False), ("1GB", True), ("1.5GiB", True), ("1000000000", True)],
)
def test_a_limit_that_is_passed_is_one_line_of_warning(artifact: str, limit: str, fits: bool, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, artifact, "--memory-limit", limit)
    assert code == 0
    assert out
    if fits:
        assert err == ""
    else:
        (line,) = err.splitlines()
        assert line.startswith("edgecnn: a process needs about 75.")
        assert "--memory-limit" in line
        assert "won't fit" in line


@pytest.mark.parametrize("limit", ["", "0", "-5", "lots", "64XB", "1e9", "nan", "0.1"])
def test_what_is_no_amount_of_memory_is_refused(artifact: str, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, artifact, "--memory-limit", limit)
    assert (code, out) == (2, "")
    assert "is no amount of memory" in err


def test_a_target_has_as_much_memory_as_its_file_says(artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(capsys, artifact, "--target", "rpi4")[::2] == (0, "")
    assert inspect(capsys, artifact, "--target", "generic")[::2] == (0, "")
    code, out, err = inspect(capsys, artifact, "--target", "rpi9")
    assert (code, out) == (2, "")
    assert "rpi9" in err
    code, _, err = inspect(capsys, artifact, "--target", str(probe_file(tmp_path / "probe.json", memory_bytes=64 << 20)))
    assert code == 0
    assert "(67.1 MB): it won't fit" in err


def test_a_graph_that_can_not_be_told_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.artifact.onnx_models import branches

    (tmp_path / "net.onnx").write_bytes(branches())
    code, out, err = inspect(capsys, str(tmp_path / "net.onnx"), "--memory-limit", "1GB")
    assert code == 0
    assert "can't be told" in out
    assert "whether it fits" in err


def test_export_warns_and_writes_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "net.onnx", tmp_path / "net.edgecnn"
    source.write_bytes(residual(size=16))
    described = ["--labels", ",".join(f"l{i}" for i in range(5)), "--preprocess", "imagenet"]
    code = main(["export", str(source), "-o", str(output), *described, "--memory-limit", "32MB"])
    err = capsys.readouterr().err
    assert "more than the memory of --memory-limit (32.0 MB)" in err, err
    assert code == 0
    assert output.is_file()
