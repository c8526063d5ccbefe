"""A reader of .edgecnn files, written from docs/artifact-format.md alone: it imports nothing of edgecnn."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*(/[a-z0-9_][a-z0-9_.-]*)*")
ENTRY, END = "<4s6H3I5H2I", "<4s4H2IH"


class Refused(Exception):
    pass


def refuse_unless(condition: bool, why: str) -> None:
    if not condition:
        raise Refused(why)


def members_of(data: bytes) -> dict[str, bytes]:
    """Each member's content, once every byte around them is seen to be what it must be."""
    refuse_unless(22 <= len(data) <= 1 << 30, "size")
    count, length, start = struct.unpack(END, data[-22:])[4:7]
    refuse_unless(count <= 64 and start + length + 22 == len(data), "end")
    members, headers, place, at = {}, b"", 0, start
    for _ in range(count):
        refuse_unless(at + 46 <= len(data) - 22, "directory")
        fields = struct.unpack(ENTRY, data[at : at + 46])
        size, n = fields[8], fields[10]
        name = data[at + 46 : at + 46 + n].decode("ascii", "replace")
        refuse_unless(n <= 100 and bool(NAME.fullmatch(name)) and ".." not in name and name not in members, "name")
        content = data[place + 30 + n : place + 30 + n + size]
        crc = zlib.crc32(content)
        common = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, crc, size, size, n, 0)
        refuse_unless(len(content) == size and data[place : place + 30 + n] == b"PK\x03\x04" + common + name.encode(), "header")
        tail = struct.pack("<3H2I", 0, 0, 0, 0o100644 << 16, place)
        headers += b"PK\x01\x02" + struct.pack("<H", 788) + common + tail + name.encode()
        members[name], place, at = content, place + 30 + n + size, at + 46 + n
    end = struct.pack(END, b"PK\x05\x06", 0, 0, count, count, len(headers), place, 0)
    refuse_unless(data[place:] == headers + end, "directory")
    order = sorted(members, key=lambda name: (name != "manifest.json", name != "model.onnx", name))
    refuse_unless(list(members) == order and order[:2] == ["manifest.json", "model.onnx"], "order")
    return members


def manifest_of(members: dict[str, bytes]) -> dict[str, Any]:
    text = members["manifest.json"]
    manifest: dict[str, Any] = json.loads(text)
    refuse_unless(json.dumps(manifest, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n" == text, "canonical")
    refuse_unless(manifest["format_version"] == 1, "version")
    stated = [(member["name"], member["size"], member["sha256"]) for member in manifest["members"]]
    found = [(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in list(members.items())[1:]]
    refuse_unless(stated == found, "digest")
    return manifest


def prepare(picture: bytes, pre: dict[str, Any]) -> np.ndarray:
    """The input (channels, height, width) that a picture gives; of the ways to resize, those that the shipped models use."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(picture))).convert("L" if pre["channels"] == "L" else "RGB")
    height, width = pre["size"]
    refuse_unless(pre["antialias"] and pre["resize_mode"] in ("stretch", "shortest-edge"), "not implemented")
    if pre["resize_mode"] == "shortest-edge":
        wide = height / image.height >= width / image.width
        height, width = (height, height * image.width // image.height) if wide else (width * image.height // image.width, width)
    image = image.resize((width, height), getattr(Image.Resampling, pre["interpolation"].upper()))
    height, width = pre.get("crop_size") or pre["size"]
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    pixels = np.asarray(image.crop((left, top, left + width, top + height))).reshape(height, width, -1)
    pixels = (pixels[:, :, ::-1] if pre["channels"] == "BGR" else pixels).transpose(2, 0, 1)
    if pre.get("normalized_by") == "graph":
        return pixels
    mean, std = (np.array(pre[name]).reshape(-1, 1, 1) for name in ("image_mean", "image_std"))
    return ((pixels * np.float64(pre["rescale_factor"]) - mean) / std).astype(np.float32)


def check(path: Path) -> str:
    """Run the golden images and inputs as "Checking a device" says, and return the label of the first."""
    members = members_of(path.read_bytes())
    manifest = manifest_of(members)
    spec, limits = manifest["spec"], manifest["limits"]
    inputs, outputs, reference = (np.load(io.BytesIO(members[f"golden/{name}.npy"])) for name in ("inputs", "outputs", "reference"))
    pictures = [content for name, content in members.items() if name.endswith(".png")]
    for picture, x in zip(pictures, inputs, strict=False):
        refuse_unless(np.array_equal(prepare(picture, spec["preprocess"]), x), "preprocessing")
    session = onnxruntime.InferenceSession(members["model.onnx"], providers=["CPUExecutionProvider"])
    fed = inputs.astype(spec["input"]["dtype"])
    y = np.concatenate([session.run(None, {spec["input"]["name"]: x[None]})[0] for x in fed]).astype(np.float32)
    refuse_unless(len(y) > 0 and bool(np.isfinite(y).all()) and bool((abs(y - outputs) <= limits["outputs_atol"]).all()), "outputs")
    thresholds = np.array(spec["postprocess"].get("thresholds") or [0.5])
    decide = (lambda z: z.argmax(axis=1)[:, None]) if spec["task"] == "single-label" else (lambda z: 1 / (1 + np.exp(-z)) >= thresholds)
    agreement = (decide(y) == decide(reference)).all(axis=1).mean()
    wanted = limits["reference"]
    refuse_unless((abs(y - reference) <= wanted["atol"]).all() and agreement >= wanted["min_agreement"], "reference")
    return str(spec["labels"][int(y[0].argmax())])
