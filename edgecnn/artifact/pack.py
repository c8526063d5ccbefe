"""Write a .edgecnn file: deterministic, whole or not there, and only with proof that the graph's answers are the source network's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgecnn.artifact import ziplayout as layout
from edgecnn.artifact.files import atomic_writer
from edgecnn.artifact.graph import check_agrees, check_device_graph, read_graph
from edgecnn.artifact.manifest import DeviceLimits, Manifest, Member, Quantization, Report, passed_for
from edgecnn.artifact.records import ParityReport
from edgecnn.artifact.spec import ModelSpec
from edgecnn.errors import ArtifactRejected, ManifestRejected, ParityFailed


def pack(
    path: Path | str,
    *,
    spec: ModelSpec,
    quantization: Quantization,
    opset: int,
    ir_version: int,
    model: bytes,
    members: Mapping[str, bytes],
    limits: DeviceLimits,
    parity: ParityReport | None,
    edgecnn_version: str,
    tools: Mapping[str, str],
    licenses: Mapping[str, str],
    force: bool = False,
) -> Manifest:
    """Write the artifact `path` and return its manifest. Equal arguments give equal bytes.

    model: the ONNX graph; members: everything else by name (report.json, golden/...); parity: of this very graph against its source network.
    force: pack without a passed parity, marked so in the manifest.
    Raises ParityFailed; GraphRejected for a graph that devices refuse; ManifestRejected where the graph isn't what the other arguments say;
    ArtifactRejected where it grows too large; OutputNotWritable. Nothing is written then.
    """
    digest = hashlib.sha256(model).hexdigest()
    passed = passed_for(parity, digest)
    if not passed and not force:
        raise ParityFailed(_why_not(parity, digest))
    graph = read_graph(model)
    check_device_graph(graph)
    check_agrees(graph, spec, opset=opset, ir_version=ir_version)
    reserved = members.keys() & {layout.MANIFEST, layout.MODEL}
    if reserved:
        raise ManifestRejected(f"{path} can't be packed: {min(reserved)} is written by pack itself; give that member another name.")
    contents = {layout.MODEL: model, **members}
    try:
        manifest = Manifest(
            edgecnn_version=edgecnn_version,
            spec=spec,
            quantization=quantization,
            opset=opset,
            ir_version=ir_version,
            members=tuple(_member(name, contents[name]) for name in layout.canonical_order(contents)),
            limits=limits,
            parity=parity,
            forced=not passed,
            tools=dict(tools),
            licenses=dict(licenses),
        )
    except ValueError as error:
        raise ManifestRejected(f"{path} can't be packed: {error}.") from None
    written = manifest.to_json()
    Manifest.from_json(written)  # what a device would refuse fails here
    if layout.REPORT in contents:
        Report.from_json(contents[layout.REPORT])
    _check_size(path, {layout.MANIFEST: written, **contents})
    with atomic_writer(path) as file:
        for piece in canonical_zip({layout.MANIFEST: written, **contents}):
            file.write(piece)
    return manifest


def canonical_zip(members: Mapping[str, bytes]) -> Iterator[bytes]:
    """The bytes of the one ZIP file that holds these members (the manifest among them), piece by piece."""
    return layout.zip_pieces(members, lambda name: (members[name],))


def _member(name: str, content: bytes) -> Member:
    return Member(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _check_size(path: Path | str, contents: Mapping[str, bytes]) -> None:
    overhead = layout.MAX_MEMBERS * (layout.LOCAL.size + layout.CENTRAL.size + 2 * layout.MAX_NAME) + layout.END.size
    total = sum(map(len, contents.values()))
    if total > layout.MAX_FILE_BYTES - overhead:
        raise ArtifactRejected(f"{path} would hold {total} bytes, an artifact has at most {layout.MAX_FILE_BYTES}; take a smaller network.")


def _why_not(parity: ParityReport | None, digest: str) -> str:
    if parity is None:
        return "The graph was not compared with its source network, so it isn't packed; compare it, or pack it with force."
    if parity.graph_sha256 != digest:
        return f"The parity report speaks of the graph {parity.graph_sha256[:12]}, not of this one ({digest[:12]}), so it isn't packed."
    return f"The graph's answers aren't those of its {parity.reference}, so it isn't packed: {'; '.join(parity.failures)}."
