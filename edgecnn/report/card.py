"""A model card as Markdown: what an artifact holds, measured and proved, with what a person adds to it.

After M. Mitchell et al. (2019), "Model Cards for Model Reporting", FAT* '19. Equal artifacts, images and texts give equal bytes: a card
holds no date, host or path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgecnn.artifact.records import ParityReport, Stage
from edgecnn.artifact.spec import Preprocess
from edgecnn.device.validate import AccuracyReport, describe_limits
from edgecnn.report.about import SECTIONS, About
from edgecnn.report.markdown import code, table, text
from edgecnn.report.subject import Artifact, Measured, check_twins

_LABELS_SHOWN = 50
"""A table of labels stops being read somewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Card:
    artifact: Artifact
    float32: Artifact | None
    measured: Measured | None
    about: About
    recipe: tuple[str, bytes] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A card in Markdown, part by part: its title, what a person says of the model, a table of facts, and the sections by name, in their order."""

    title: str
    summary: str
    glance: str
    sections: Mapping[str, str]


def card_parts(
    artifact: Artifact,
    *,
    float32: Artifact | None = None,
    measured: Measured | None = None,
    about: About | None = None,
    recipe: tuple[str, bytes] | None = None,
) -> Parts:
    """What `card` writes, for who arranges it otherwise. Raises UsageError where `float32` is another model."""
    if float32 is not None:
        check_twins(artifact, float32)
    whole = _Card(artifact=artifact, float32=float32, measured=measured, about=about or About(), recipe=recipe)
    spec = artifact.manifest.spec
    sections = {}
    for name in SECTIONS:
        own, said = list(_WRITERS[name](whole)) if name in _WRITERS else [], whole.about.sections.get(name)
        if own or said:
            one_list = bool(own) and own[0].startswith("- ") and bool(said) and "\n- " in f"\n{said}"
            sections[name] = "\n".join([*([said] if said else []), *([""] if said and own and not one_list else []), *own])
    title = f"{text(spec.name)} {text(spec.version)}"
    return Parts(title=title, summary=whole.about.summary, glance="\n".join(_at_a_glance(whole)), sections=sections)


def card(
    artifact: Artifact,
    *,
    float32: Artifact | None = None,
    measured: Measured | None = None,
    about: About | None = None,
    recipe: tuple[str, bytes] | None = None,
) -> str:
    """The card, as Markdown. float32: the same model, not quantized; recipe: the name and the content of the file that the model was made from.

    Raises UsageError where `float32` is another model.
    """
    parts = card_parts(artifact, float32=float32, measured=measured, about=about, recipe=recipe)
    return joined(parts.title, [parts.summary, parts.glance], parts.sections)


def joined(title: str, head: list[str], sections: Mapping[str, str]) -> str:
    """Markdown of a title, paragraphs under it (empty ones are left out) and sections by name."""
    pieces = [f"# {title}", *filter(None, head), *(f"## {name}\n\n{body}" for name, body in sections.items())]
    return "\n\n".join(piece.rstrip("\n") for piece in pieces) + "\n"


def _at_a_glance(whole: _Card) -> Iterator[str]:
    artifact, spec = whole.artifact, whole.artifact.manifest.spec
    shown = ", ".join(text(label) for label in spec.labels[:_LABELS_SHOWN])
    more = f" and {len(spec.labels) - _LABELS_SHOWN} more" if len(spec.labels) > _LABELS_SHOWN else ""
    height, width = spec.preprocess.input_size
    rows = [
        ("", ""),
        ("Task", f"{spec.task}: {spec.postprocess.activation} over {len(spec.labels)} labels"),
        ("Labels", shown + more),
        ("Input", f"an image; the network sees {width} x {height} pixels, {_CHANNELS[spec.preprocess.channels]}"),
        ("Artifact", f"{code(artifact.name)}, {artifact.quantization}, {artifact.size:,} bytes"),
        ("sha256", code(artifact.sha256)),
    ]
    if spec.postprocess.thresholds:
        rows.insert(3, ("Thresholds", ", ".join(f"{threshold:g}" for threshold in spec.postprocess.thresholds[:_LABELS_SHOWN])))
    if not artifact.manifest.validated:
        rows.append(("Warning", "**packed by force: its answers were not proved to be the source network's**"))
    yield from table(rows)


_CHANNELS = {"RGB": "red, green, blue", "BGR": "blue, green, red", "L": "grey"}


# Accuracy


def _accuracy(whole: _Card) -> Iterator[str]:
    measured, artifact = whole.measured, whole.artifact
    if measured is None:
        yield "No accuracy was measured for this card."
        return
    packed, float32 = measured.packed, measured.float32
    kind = "top-1 accuracy" if packed.confusion else "all labels right"
    both = ", the same for both" if float32 else ""
    yield f"On the {packed.count:,} images of {text(measured.name)}{both}:"
    yield ""
    rows = [("model", "right", kind, "95 % interval")]
    rows += [_accuracy_row(name, found) for name, found in (("float32", float32), (artifact.quantization, packed)) if found]
    apart = measured.difference
    if apart is not None:
        least, most = (_signed(value) for value in (apart.low, apart.high))
        name = f"{artifact.quantization} less float32"
        rows.append((name, f"{apart.only_b - apart.only_a:+,}", f"{_signed(apart.points)} points", f"{least} to {most} points"))
    yield from table(rows, right=(1, 2, 3))
    yield ""
    alike = ""
    if measured.agreeing is not None:
        alike = f" Both decide {measured.agreeing:,} of the {packed.count:,} images alike ({_percent(measured.agreeing / packed.count)})."
    paired = ", of the paired difference Tango's score interval" if apart else ""
    yield f"Intervals are Wilson's score intervals{paired}.{alike}"
    yield ""
    yield from _label_table(measured, artifact.quantization)
    yield ""
    yield f"sha256 of the images, over their own in order: {code(measured.sha256)}."


def _accuracy_row(name: str, found: AccuracyReport) -> tuple[str, str, str, str]:
    low, high = found.interval
    return name, f"{found.correct:,} of {found.count:,}", _percent(found.top1), f"{100 * low:.2f} to {_percent(high)}"


def _label_table(measured: Measured, quantization: str) -> Iterator[str]:
    packed, float32 = measured.packed, measured.float32
    heading = ["label", "images", *(["recall, float32"] if float32 else []), f"recall, {quantization}", f"precision, {quantization}"]
    rows = [heading]
    for place, counts in enumerate(packed.per_label[:_LABELS_SHOWN]):
        images = counts.true_positives + counts.false_negatives
        before = [_share(float32.per_label[place].recall)] if float32 else []
        rows.append([text(counts.label), f"{images:,}", *before, _share(counts.recall), _share(counts.precision)])
    yield from table(rows, right=range(1, len(heading)))
    if len(packed.per_label) > _LABELS_SHOWN:
        yield ""
        yield f"{len(packed.per_label) - _LABELS_SHOWN} more labels are not listed."


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _signed(points: float) -> str:
    return f"{points:+.2f}" if abs(points) >= 0.005 else "0.00"


# Parity and sizes


def _parity(whole: _Card) -> Iterator[str]:
    rows = [("graph", "against", "images", "largest difference", "decided alike", "limit")]
    for name, artifact in (("float32", whole.float32), (whole.artifact.quantization, whole.artifact)):
        parity = artifact.manifest.parity if artifact else None
        if parity is not None:
            alike = f"{parity.agreeing:,} of {parity.samples:,} ({_percent(parity.agreement)})"
            rows.append(
                (name, f"the {text(parity.reference)}", f"{parity.samples:,}", f"{parity.max_abs:.2g}", alike, describe_limits(parity.limits))
            )
    if len(rows) == 1:
        yield "The graph's answers were not compared with those of the network that it was made from."
    else:
        yield "The graph's answers (logits) next to those of the network that it was made from:"
        yield ""
        yield from table(rows, right=(2, 3, 4))
    yield ""
    limits = whole.artifact.manifest.limits
    exact = "exactly" if limits.outputs_atol == 0 else f"within {limits.outputs_atol:g}"
    reference = describe_limits(limits.reference)
    yield (
        f"A device proves itself with the artifact's golden inputs (`edgecnn validate`): they must give the answers of the machine that packed "
        f"it {exact}, and the source network's within {reference}."
    )


def _sizes(whole: _Card) -> Iterator[str]:
    artifacts = [whole.artifact, *([whole.float32] if whole.float32 else [])]
    rows = [["", *(artifact.quantization for artifact in artifacts)]]
    rows.append(["artifact, bytes", *(f"{artifact.size:,}" for artifact in artifacts)])
    rows.append(["model.onnx, bytes", *(f"{artifact.manifest.member('model.onnx').size:,}" for artifact in artifacts)])
    rows.append(["parameters", *(f"{sum(layer.parameters for layer in artifact.report.layers):,}" for artifact in artifacts)])
    rows.append(["multiply-accumulates for one image", *(_macs(artifact) for artifact in artifacts)])
    yield from table(rows, right=range(1, len(rows[0])))


def _macs(artifact: Artifact) -> str:
    layers = artifact.report.layers
    return ("at least " if any(layer.macs is None for layer in layers) else "") + f"{sum(layer.macs or 0 for layer in layers):,}"


# From an image to the network


def _preprocessing(whole: _Card) -> Iterator[str]:
    pre = whole.artifact.manifest.spec.preprocess
    steps = [f"Turn the picture upright (EXIF), lay transparency over black, convert it to {pre.channels}.", _resize(pre)]
    if pre.crop_size or pre.resize_mode == "shortest-edge":
        height, width = pre.input_size
        steps.append(f"Take the central {width} x {height} pixels.")
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (pre.image_mean, pre.image_std))
    steps.append(f"x = (pixel * {pre.rescale_factor:.9g} - mean) / std in float32, channels first; mean {mean}; std {std}.")
    yield from (f"{number}. {step}" for number, step in enumerate(steps, 1))


def _resize(pre: Preprocess) -> str:
    height, width = pre.size
    how = {
        "stretch": f"Resize it to {width} x {height} pixels (width x height)",
        "shortest-edge": f"Resize it so that it covers {width} x {height} pixels and keeps its proportions",
        "letterbox": f"Resize it so that it fits into {width} x {height} pixels and keeps its proportions, and fill up with zeros",
    }[pre.resize_mode]
    return f"{how}; {pre.interpolation}{', antialiased' if pre.antialias else ', not antialiased'} as Pillow does it."


# Where it comes from


def _provenance(whole: _Card) -> Iterator[str]:
    manifest = whole.artifact.manifest
    rows = [("", "")]
    if whole.recipe is not None:
        name, content = whole.recipe
        rows.append(("recipe", f"{code(name)}, sha256 {code(hashlib.sha256(content).hexdigest())}"))
    rows.append(("model.onnx", f"sha256 {code(manifest.member('model.onnx').sha256)}, opset {manifest.opset}, IR version {manifest.ir_version}"))
    tools = {"edgecnn": manifest.edgecnn_version, **manifest.tools}
    rows.append(("made with", ", ".join(f"{text(name)} {text(version)}" for name, version in sorted(tools.items()))))
    yield from table(rows)
    yield ""
    stages = whole.artifact.report.stages
    yield from table([("stage", "nodes", "bytes", "against the source network"), *map(_stage, stages)], right=(1, 2))
    yield ""
    for stage in stages:
        said = [f"{code(key)} {text(_value(value))}" for key, value in sorted(stage.configuration.items())]
        yield f"- {text(stage.name)}: {'; '.join([*said, *([text(stage.note)] if stage.note else [])]) or 'nothing to choose'}"


def _stage(stage: Stage) -> tuple[str, str, str, str]:
    return text(stage.name), f"{stage.nodes:,}", f"{stage.bytes:,}", _against(stage.against_source)


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _against(parity: ParityReport | None) -> str:
    return "-" if parity is None else f"{parity.max_abs:.2g}, {parity.agreeing:,} of {parity.samples:,} alike"


def _licences(whole: _Card) -> Iterator[str]:
    licenses = whole.artifact.manifest.licenses
    if not licenses:
        yield "None are stated."
        return
    yield from table([("of", "licence (SPDX)"), *((text(of), code(spdx)) for of, spdx in sorted(licenses.items(), reverse=True))])


def _limits(whole: _Card) -> Iterator[str]:
    spec = whole.artifact.manifest.spec
    if spec.task == "single-label":
        yield f"- Every image gets one of the {len(spec.labels)} labels, whatever it shows: a picture of something else gets the nearest."
    yield "- Scores order the labels; they were not calibrated, so 0.9 is no promise to be right nine times in ten."
    if whole.measured is None:
        yield "- Its accuracy was not measured here."
    else:
        yield "- The accuracy above holds for images like those it was measured on; another camera, decoder or resizing may cost more than int8 does."


def _reproduce(whole: _Card) -> Iterator[str]:
    yield "Check the artifact on any machine with edgecnn's base install:"
    yield ""
    yield "```"
    yield f"edgecnn validate {whole.artifact.name}"
    yield f"edgecnn inspect {whole.artifact.name}"
    yield "```"


_WRITERS: Mapping[str, Callable[[_Card], Iterator[str]]] = {
    "Accuracy": _accuracy,
    "Parity": _parity,
    "Sizes": _sizes,
    "Preprocessing": _preprocessing,
    "Provenance": _provenance,
    "Licences": _licences,
    "Limits": _limits,
    "Reproduce": _reproduce,
}
