"""Reading an .onnx: whole, external data inlined, and never a byte from outside its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.build.onnx_io import all_tensors, load_onnx, parse
from edgecnn.errors import GraphRejected, InputMissing

Make = Callable[..., onnx.ModelProto]


def externalize(model: onnx.ModelProto, name: str, **entries: str) -> bytes:
    """Move the initializer `name` out; returns its bytes. entries: of external_data; location is weights.bin where not given."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return data


@pytest.fixture
def external(unfolded: Make, tmp_path: Path) -> Callable[..., Path]:
    """external(location=..., offset=..., length=...): an .onnx whose weight w lies in weights.bin, 16 bytes in."""

    def make(**entries: str) -> Path:
        model = unfolded()
        data = externalize(model, "w", **{"offset": "16", **entries})
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "weights.bin").write_bytes(b"\0" * 16 + data)
        (folder / "net.onnx").write_bytes(model.SerializeToString())
        return folder / "net.onnx"

    return make


def test_external_data_is_inlined(external: Callable[..., Path], unfolded: Make) -> None:
    loaded = parse(load_onnx(external(length="432", checksum="unused")))
    assert not any(tensor.external_data or tensor.data_location for tensor in all_tensors(loaded))
    wanted, found = (next(t for t in m.graph.initializer if t.name == "w") for m in (unfolded(), loaded))
    np.testing.assert_array_equal(numpy_helper.to_array(found), numpy_helper.to_array(wanted))


def test_external_data_may_lie_in_a_folder_below(external: Callable[..., Path]) -> None:
    path = external(location="deep/er/weights.bin")
    (path.parent / "deep" / "er").mkdir(parents=True)
    (path.parent / "weights.bin").rename(path.parent / "deep" / "er" / "weights.bin")
    assert load_onnx(path)


def test_a_whole_file_is_read_as_it_is(unfolded: Make, tmp_path: Path) -> None:
    data = unfolded().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data)
    assert load_onnx(tmp_path / "net.onnx") == data


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "deep/../../secret", "a\\..\\secret", "C:secret", "", ".", "./weights.bin", "weights.bin/"]
)
def test_locations_that_could_leave_the_folder_are_refused(external: Callable[..., Path], tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 448)
    with pytest.raises(GraphRejected, match="a plain path below the file's folder was wanted"):
        load_onnx(external(location=location))


def test_an_absolute_path_to_the_very_file_is_refused(external: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(GraphRejected, match="a plain path below"):
        load_onnx(external(location=str(tmp_path / "model" / "weights.bin")))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_symbolic_links_are_not_followed(external: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "weights.bin").write_bytes(b"s" * 448)
    path = external(location="linked.bin" if kind == "file" else "linked/weights.bin")
    if kind == "file":
        (path.parent / "linked.bin").symlink_to(tmp_path / "outside" / "weights.bin")
    else:
        (path.parent / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(GraphRejected, match="can't be opened"):
        load_onnx(path)


def test_a_hard_link_is_refused(external: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 448)
    path = external(location="linked.bin")
    os.link(tmp_path / "secret", path.parent / "linked.bin")
    with pytest.raises(GraphRejected, match="no plain file of its own"):
        load_onnx(path)


def test_a_pipe_is_refused_without_waiting_for_it(external: Callable[..., Path]) -> None:
    path = external(location="pipe.bin")
    os.mkfifo(path.parent / "pipe.bin")
    with pytest.raises(GraphRejected, match="no plain file of its own"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "17"}, "wants bytes up to 449 of 'weights.bin', which has 448"),
        ({"offset": "99999999999"}, "which has 448"),
        ({"offset": "-1"}, "offset '-1', which is no plain number"),
        ({"offset": "1_6"}, "which is no plain number"),
        ({"offset": "٣"}, "which is no plain number"),
        ({"length": "431"}, "external data of 431 bytes, its shape .* needs 432"),
        ({"length": "9" * 400}, "which is no plain number"),
    ],
)
def test_offset_and_length_must_fit(external: Callable[..., Path], entries: dict[str, str], message: str) -> None:
    with pytest.raises(GraphRejected, match=message):
        load_onnx(external(**entries))


def test_a_shape_that_claims_gigabytes_is_refused_before_it_is_read(external: Callable[..., Path]) -> None:
    path = external()
    model = onnx.load(path, load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    tensor.dims[:] = [1 << 40, 1 << 40]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(GraphRejected, match="2 GiB or more"):
        load_onnx(path)


def test_a_key_given_twice_is_refused(external: Callable[..., Path]) -> None:
    path = external()
    model = onnx.load(path, load_external_data=False)
    next(tensor for tensor in model.graph.initializer if tensor.name == "w").external_data.add(key="location", value="../secret")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(GraphRejected, match="names a key twice"):
        load_onnx(path)


def secret_beside(folder: Path) -> Path:
    """What a file outside the model's folder holds; it would do as the weight's data."""
    secret = folder.parent / "secret"
    secret.write_bytes(b"s" * 448)
    return secret


def linked_folder(folder: Path) -> None:
    secret_beside(folder).rename(folder.parent / "weights.bin")
    (folder / "linked").symlink_to(folder.parent)


ONNX_VULNERABILITIES: dict[str, tuple[Callable[[Path], object], dict[str, str], str]] = {
    "CVE-2022-25882": (secret_beside, {"location": "../secret"}, "a plain path below"),
    "CVE-2024-27318": (lambda folder: (secret_beside(folder), (folder / "deep").mkdir()), {"location": "deep/../../secret"}, "a plain path below"),
    "CVE-2026-27489": (linked_folder, {"location": "linked/weights.bin"}, "can't be opened"),
    "CVE-2026-34445, a length": (lambda folder: None, {"length": "9" * 18}, "its shape .* needs 432"),
    "CVE-2026-34445, an offset": (lambda folder: None, {"offset": "9" * 18}, "which has 448"),
    "CVE-2026-34445, below nothing": (lambda folder: None, {"offset": "-1", "length": "-1"}, "no plain number"),
    "CVE-2026-34446": (lambda folder: os.link(secret_beside(folder), folder / "hard"), {"location": "hard"}, "no plain file of its own"),
    "CVE-2026-34447": (lambda folder: (folder / "soft").symlink_to(secret_beside(folder)), {"location": "soft"}, "can't be opened"),
}


@pytest.mark.parametrize("name", ONNX_VULNERABILITIES)
def test_what_onnx_was_vulnerable_to_reads_nothing(external: Callable[..., Path], name: str) -> None:
    prepare, entries, message = ONNX_VULNERABILITIES[name]
    path = external(**entries)
    prepare(path.parent)
    with pytest.raises(GraphRejected, match=message):
        load_onnx(path)


@pytest.mark.parametrize("key", ["__class__", "__dict__", "basepath", "_open", "tensor", "path"])
def test_keys_that_mean_nothing_change_nothing(external: Callable[..., Path], key: str) -> None:
    """CVE-2026-34445: onnx set an attribute for each key that a model has."""
    plain = load_onnx(external())
    assert load_onnx(external(**{key: "/etc"})) == plain


def test_a_file_that_takes_the_place_of_another_while_it_is_read_is_not_mixed_in(
    external: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the read a link appears under the name: what was checked is what is read."""
    path = external()
    plain, checked = load_onnx(path), os.fstat

    def swap(file: int) -> os.stat_result:
        found = checked(file)
        weights = path.parent / "weights.bin"
        if not weights.is_symlink() and found.st_size == 448:
            weights.rename(path.parent / "aside.bin")
            weights.symlink_to(secret_beside(path.parent))
        return found

    monkeypatch.setattr("edgecnn.build.onnx_io.os.fstat", swap)
    assert load_onnx(path) == plain
    assert (path.parent / "weights.bin").is_symlink()


def test_a_file_that_shrinks_while_it_is_read_is_refused(external: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path, checked = external(), os.fstat

    def shrink(file: int) -> os.stat_result:
        found = checked(file)
        if found.st_size == 448:
            os.truncate(path.parent / "weights.bin", 100)
        return found

    monkeypatch.setattr("edgecnn.build.onnx_io.os.fstat", shrink)
    with pytest.raises(GraphRejected, match="became shorter while it was read"):
        load_onnx(path)


def test_what_is_no_regular_file_is_refused_without_waiting_for_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "endless.onnx").symlink_to("/dev/zero")
    for name in ("pipe.onnx", "endless.onnx"):
        with pytest.raises(GraphRejected, match="no regular file"):
            load_onnx(tmp_path / name)


def test_missing_external_data_names_the_file(external: Callable[..., Path]) -> None:
    path = external()
    (path.parent / "weights.bin").unlink()
    with pytest.raises(InputMissing, match=r"weights\.bin"):
        load_onnx(path)


def hidden_in_an_attribute(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))


def hidden_in_a_subgraph(model: onnx.ModelProto, tensor: TensorProto) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["c"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)], [tensor])
    branch.initializer[0].name = "c"
    model.graph.node.append(helper.make_node("If", ["flag"], ["hidden"], then_branch=branch, else_branch=branch))


def hidden_in_a_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["o"], value=tensor)
    model.functions.append(helper.make_function("local", "F", [], ["o"], [node], [helper.make_opsetid("", 17)]))


def hidden_in_what_a_function_is_by_default(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["o"])
    node.attribute.add(name="value", ref_attr_name="w", type=onnx.AttributeProto.TENSOR)
    function = helper.make_function("local", "F", [], ["o"], [node], [helper.make_opsetid("", 17)])
    function.attribute_proto.append(helper.make_attribute("w", tensor))
    model.functions.append(function)


def hidden_in_a_graph_that_a_function_holds_by_default(model: onnx.ModelProto, tensor: TensorProto) -> None:
    inner = helper.make_graph([helper.make_node("Constant", [], ["o"], value=tensor)], "g", [], [])
    model.functions.append(onnx.FunctionProto(name="F", domain="local", attribute_proto=[helper.make_attribute("body", inner)]))


def hidden_in_a_sparse_tensor(model: onnx.ModelProto, tensor: TensorProto) -> None:
    indices = numpy_helper.from_array(np.arange(4, dtype=np.int64), "i")
    tensor.dims[:] = [4]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [10]))


@pytest.mark.parametrize(
    "hide",
    [
        hidden_in_an_attribute,
        hidden_in_a_subgraph,
        hidden_in_a_function,
        hidden_in_what_a_function_is_by_default,
        hidden_in_a_graph_that_a_function_holds_by_default,
        hidden_in_a_sparse_tensor,
    ],
)
def test_external_data_is_found_wherever_it_hides(unfolded: Make, tmp_path: Path, hide: Callable[[onnx.ModelProto, TensorProto], None]) -> None:
    model = unfolded()
    tensor = TensorProto(name="hidden_tensor", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    hide(model, tensor)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GraphRejected, match=r"asks for '\.\./secret'"):
        load_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize("data", [b"", b"no graph at all", b"\x08\x08", b"PK\x03\x04" + b"\0" * 50])
def test_what_is_no_graph_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(GraphRejected, match="is no ONNX graph"):
        load_onnx(tmp_path / "net.onnx")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.onnx"):
        load_onnx(tmp_path / "gone.onnx")


def test_a_graph_that_breaks_the_rules_is_refused(unfolded: Make, tmp_path: Path) -> None:
    model = unfolded()
    model.graph.node[0].input[1] = "nowhere"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GraphRejected, match=r"breaks the rules of ONNX: .*nowhere"):
        load_onnx(tmp_path / "net.onnx")


@given(st.text(max_size=30), st.text(alphabet="0123456789-+_ ", max_size=20))
def test_no_location_reads_outside(tmp_path_factory: pytest.TempPathFactory, location: str, offset: str) -> None:
    folder = tmp_path_factory.mktemp("external") / "inner"
    folder.mkdir()
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    tensor = TensorProto(name="t", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value=offset)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value], [tensor])
    (folder / "net.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises((GraphRejected, InputMissing)):  # nothing but the graph lies in the folder: data would come from outside
        load_onnx(folder / "net.onnx")
