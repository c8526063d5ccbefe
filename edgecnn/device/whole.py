"""Whether an artifact is whole: every byte, the graph, the report, and the golden members that it is to be checked by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecnn.errors import ArtifactRejected

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle


def check_whole(bundle: Bundle) -> None:
    """Check all of an open artifact that can be checked without running its graph or decoding its images.

    Raises ArtifactRejected, GraphRejected or ManifestRejected.
    """
    from edgecnn.device.golden import read_golden

    bundle.verify()
    report = bundle.report()
    images = tuple(name for name, _ in read_golden(bundle).originals)
    if report.golden != images:
        named = ", ".join(report.golden) or "none"
        raise ArtifactRejected(f"{bundle.path} holds the golden images {', '.join(images)}, its report names {named}; export it again.")
