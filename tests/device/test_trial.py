"""A model that crashes, hangs, eats memory or answers wrongly is refused in a sentence, and whoever tried it lives on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecnn.artifact.bundle import open_bundle
from edgecnn.device import trial
from edgecnn.device.trial import BASE_MB, MOST_MB, try_model, wanted_memory_mb
from edgecnn.errors import ArtifactRejected, InputMissing, ModelRejected
from tests.attacks.make import archive, listed, members_of, sorted_files
from tests.fixtures.artifacts import tiny_artifact
from tests.fixtures.graphs import tiny_classifier


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_artifact(tmp_path / "tiny.edgecnn")


def repacked(artifact: Path, **members: bytes) -> Path:
    """`artifact` with other members under their names' last parts, honestly listed."""
    good = members_of(artifact.read_bytes())
    changes = {name: members[stem] for name in good if (stem := name.rpartition("/")[2].partition(".")[0]) in members}
    path = artifact.with_name("other.edgecnn")
    path.write_bytes(archive(sorted_files(listed({**good, **changes}))))
    return path


def changed(artifact: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load_from_string(members_of(artifact.read_bytes())["model.onnx"])
    change(model)
    return repacked(artifact, model=model.SerializeToString())


def refusal(path: Path, **limits: float) -> str:
    with pytest.raises(ModelRejected) as caught:
        try_model(path, **limits)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(f"{path} failed when its model was tried in a process of its own: ")
    assert message.isprintable()
    assert len(message) < 1000
    assert caught.value.exit_code == 3
    return message.partition(" of its own: ")[2]


# Real models


def test_a_sound_model_passes_as_a_file_and_by_any_name(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try_model(artifact)
    artifact.rename(artifact.with_name("-c print('\x1b[31m').edgecnn"))
    monkeypatch.chdir(artifact.parent)
    try_model(Path("-c print('\x1b[31m').edgecnn"))


def test_a_sound_model_passes_as_an_unpacked_folder(artifact: Path, tmp_path: Path) -> None:
    for name, content in members_of(artifact.read_bytes()).items():
        (tmp_path / "version" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "version" / name).write_bytes(content)
    try_model(tmp_path / "version")
    (tmp_path / "version" / "model.onnx").write_bytes(tiny_classifier(seed=1))
    with pytest.raises(ArtifactRejected, match=r"model\.onnx"):
        try_model(tmp_path / "version")


def test_wrong_answers_are_told_with_their_step(artifact: Path) -> None:
    assert "falls short in the step input -> host's outputs" in refusal(repacked(artifact, model=tiny_classifier(seed=1)))


def test_answers_that_are_not_finite_are_refused(artifact: Path) -> None:
    def without_numbers(model: onnx.ModelProto) -> None:
        (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "fc.bias")
        bias.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), "fc.bias"))

    assert "falls short" in refusal(changed(artifact, without_numbers))


def test_golden_images_are_decoded_in_the_child(artifact: Path) -> None:
    assert "golden image" in refusal(repacked(artifact, **{"00": b"\x89PNG\r\n\x1a\n, and then nothing"}))


def test_a_graph_that_the_runtime_refuses_is_refused_in_its_words(artifact: Path) -> None:
    assert "can't load the graph" in refusal(changed(artifact, lambda model: model.graph.node[1].input.append("conv")))


def test_a_model_that_asks_for_too_much_memory_is_refused(artifact: Path) -> None:
    def repeat(model: onnx.ModelProto) -> None:
        """input -> tiled a million times over -> its largest value, where the input was."""
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1 << 20, 1], np.int64), "times"))
        model.graph.node[0].input[0] = "again"
        model.graph.node.insert(0, helper.make_node("Tile", ["input", "times"], ["tiled"]))
        model.graph.node.insert(1, helper.make_node("GlobalMaxPool", ["tiled"], ["largest"]))
        model.graph.node.insert(2, helper.make_node("Add", ["input", "largest"], ["again"]))

    path = changed(artifact, repeat)
    try:
        with open_bundle(path) as bundle:
            bundle.check_graph()
    except ArtifactRejected:
        return  # the reader knows the size beforehand: better still
    assert f"ran out of memory, of which {BASE_MB} MiB were allowed" in refusal(path)


def test_a_late_model_is_refused(artifact: Path) -> None:
    assert "longer than 0.05 s" in refusal(artifact, timeout_s=0.05)


def test_what_the_reader_refuses_is_never_tried(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "run_limited", None)
    artifact.write_bytes(artifact.read_bytes()[:-1])
    with pytest.raises(ArtifactRejected, match="cut short"):
        try_model(artifact)
    with pytest.raises(InputMissing):
        try_model(artifact.with_name("gone.edgecnn"))


# Children that a hostile model has taken over


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """child(code): what runs in the place of our child."""

    def become(code: str) -> None:
        (tmp_path / "child.py").write_text(f"import json, os, sys, time\n{code}\n")
        monkeypatch.setattr(trial, "_CHILD", tmp_path / "child.py")

    return become


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("os.abort()", "killed by SIGABRT"),
        ("sys.exit(3)", "exit code 3"),
        ("block = bytearray(800 << 20)", "MemoryError"),
        ("", "without a result"),
        ("print('passed')", "without a result"),
        ("print(json.dumps({'passed': True}))", "without a result"),
        ("print(json.dumps({'passed': '0' * 64}))", "without a result"),
        ("print(json.dumps({'failure': ['a', 'list']}))", "without a result"),
        ("print('{\"failure\": NaN}')", "without a result"),
        ("print('[' * 3000 + ']' * 3000)", "without a result"),
        ("print(json.dumps({'failure': '\\x1b[2J\\r\\n\\x07 ' + 'long ' * 3000}))", "without a result"),
        ("print(json.dumps({'failure': '\\x1b[2J\\r\\n\\x07' + 'long ' * 200}))", "[2J long long"),
        ("print('x' * 5_000_000)", "without a result"),
        ("os.write(1, bytes(range(256)) * 9)", "without a result"),
        ("open('/proc/self/fd/1', 'wb').write(b'\\xff' * 100)", "without a result"),
    ],
)
def test_whatever_the_child_does_is_a_sentence(artifact: Path, child: Callable[[str], None], code: str, said: str) -> None:
    child(code)
    assert said in refusal(artifact)


def test_the_child_can_write_no_large_file(artifact: Path, child: Callable[[str], None], tmp_path: Path) -> None:
    child(f"open({str(tmp_path / 'large')!r}, 'wb').write(bytes(5 << 20))")
    assert "exit code 1" in refusal(artifact)
    assert (tmp_path / "large").stat().st_size <= 1 << 20


def test_the_child_passes_only_the_graph_that_was_asked_for(artifact: Path, child: Callable[[str], None]) -> None:
    with open_bundle(artifact) as bundle:
        digest = bundle.manifest.member("model.onnx").sha256
    child(f"print(json.dumps({{'passed': {digest!r}}}))")
    try_model(artifact)


def test_the_child_loads_neither_torch_nor_onnx(artifact: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edgecnn.device._trial_child import verdict\n"
        "print(list(verdict(Path(sys.argv[1]))), sorted({'torch', 'onnx', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(artifact)], capture_output=True, text=True)
    assert done.stdout == "['passed'] []\n", done.stderr


def test_memory_follows_what_the_graph_states(tmp_path: Path) -> None:
    def wanted(**keywords: object) -> int:
        from edgecnn.artifact.spec import Preprocess, make_spec

        size, batch = keywords["size"], keywords["batch"]
        spec = make_spec(name="tiny", labels=("cat", "dog", "plane"), preprocess=Preprocess(size=(size, size)), batch=batch)  # type: ignore[arg-type]
        with open_bundle(tiny_artifact(tmp_path / "m.edgecnn", spec=spec)) as bundle:
            return wanted_memory_mb(bundle)

    small, large, open_batch = wanted(size=8, batch=1), wanted(size=512, batch=1), wanted(size=512, batch="batch")
    assert small == BASE_MB
    assert small < large < open_batch <= MOST_MB
