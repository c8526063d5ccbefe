"""Check that an artifact is whole and unaltered; --deep tries its model, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._model import model_argument
from edgecnn.cli._options import json_option, put, put_json
from edgecnn.cli._trust import trust_options

if TYPE_CHECKING:
    from edgecnn.artifact.bundle import Bundle


@click.command(epilog="Example: edgecnn verify resnet8-1.0.0.edgecnn --deep")
@model_argument
@click.option("--deep", is_flag=True, help="Load the model and check its golden answers, in a process of its own under limits of time and memory.")
@json_option
@trust_options
def command(file: Path, deep: bool, as_json: bool, trust_key: Path | None) -> None:
    """Check every byte of FILE, its manifest, its graph and its golden answers' files. Nothing in it is run. With --key its signature is checked
    first, FILE.sig, which `edgecnn sign` or the public model_signing tool wrote.

    With --deep the model is tried as well, in a process of its own: one that crashes, hangs, eats memory or answers wrongly is refused.
    Exit code 3 when FILE is refused.
    """
    from edgecnn.device.whole import check_whole
    from edgecnn.sign import open_trusted

    with open_trusted(file, trust_key) as bundle:
        check_whole(bundle)
        facts = {**_facts(file, bundle), "signed_by": None if trust_key is None else str(trust_key)}
    if deep:
        from edgecnn.device.trial import try_model

        try_model(file, trust_key=trust_key)
    if as_json:
        put_json({**facts, "verified": True, "deep": deep})
    else:
        for line in _lines(facts, deep=deep):
            put(line)


def _facts(file: Path, bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "schema": 1,
        "file": str(file),
        "name": manifest.spec.name,
        "version": manifest.spec.version,
        "sequence": manifest.spec.sequence,
        "members": len(bundle.names),
        "bytes": bundle.file_size,
        "model_sha256": manifest.member("model.onnx").sha256,
        "validated": manifest.validated,
    }


def _lines(facts: dict[str, Any], *, deep: bool) -> list[str]:
    size = f"{facts['members']} members, {facts['bytes']:,} bytes"
    lines = [
        f"{facts['name']} {facts['version']}, sequence {facts['sequence']}: {size}, whole and unaltered",
        f"model.onnx sha256 {facts['model_sha256']}",
    ]
    if facts["signed_by"] is not None:
        lines.append(f"signed by the key of {facts['signed_by']}")
    if deep:
        lines.append("the model was tried in a process of its own and gives its golden answers")
    if not facts["validated"]:
        lines.append("packed by force: its answers were not proved to be the source network's")
    return lines
