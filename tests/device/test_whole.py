"""An artifact is whole when its report and golden members can be used, too, and not only every byte is as it was packed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.artifact.bundle import open_bundle
from edgecnn.artifact.unpacked import open_unpacked
from edgecnn.device.whole import check_whole
from edgecnn.errors import ArtifactRejected
from tests.artifact.samples import pack_sample
from tests.attacks.make import archive, listed, members_of, sorted_files
from tests.fixtures.artifacts import tiny_artifact


def test_a_good_artifact_is_whole_as_a_file_and_unpacked(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path / "m.edgecnn")
    with open_bundle(artifact) as bundle:
        check_whole(bundle)
    for name, content in members_of(artifact.read_bytes()).items():
        (tmp_path / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "unpacked" / name).write_bytes(content)
    with open_unpacked(tmp_path / "unpacked") as bundle:
        check_whole(bundle)


def test_golden_members_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    pack_sample(tmp_path / "m.edgecnn")
    with open_bundle(tmp_path / "m.edgecnn") as bundle:
        bundle.verify()
        with pytest.raises(ArtifactRejected, match=r"golden/inputs\.npy"):
            check_whole(bundle)


def test_a_report_of_other_images_is_refused(tmp_path: Path) -> None:
    path = tiny_artifact(tmp_path / "m.edgecnn", images=2)
    members = members_of(path.read_bytes())
    del members["golden/01.png"]
    path.write_bytes(archive(sorted_files(listed(members))))
    with open_bundle(path) as bundle, pytest.raises(ArtifactRejected, match=r"holds the golden images golden/00\.png, its report names"):
        check_whole(bundle)
