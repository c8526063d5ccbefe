"""What a person writes about a network becomes its labels, sizes and preprocessing, or a sentence that names the word that is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.codec import canonical_json
from edgecnn.artifact.spec import Preprocess
from edgecnn.build.describe import parse_labels, parse_preprocess, parse_size, preset
from edgecnn.errors import InputMissing, UsageError


def test_labels_from_a_list_a_text_and_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffcat\ndog, small\nMöwe\n\n", encoding="utf-8")
    assert parse_labels(path) == parse_labels(str(path)) == ("cat", "dog, small", "Möwe")
    assert parse_labels("cat, dog,bird") == ("cat", "dog", "bird")
    assert parse_labels(["cat"]) == ("cat",)


def test_labels_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"gone\.txt can't be read .* one a line, or names separated by commas"):
        parse_labels("gone.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00cat")
    with pytest.raises(UsageError, match="is no text"):
        parse_labels(tmp_path / "binary.txt")


@pytest.mark.parametrize(
    ("text", "wanted"), [("224x224", (224, 224)), ("1x28x30", (1, 28, 30)), ("3, 32, 32", (3, 32, 32)), ((8, 9), (8, 9)), ([3, 8, 9], (3, 8, 9))]
)
def test_sizes(text: str, wanted: tuple[int, ...]) -> None:
    assert parse_size(text) == wanted


@given(st.text(max_size=12) | st.lists(st.integers(), max_size=5))
def test_every_size_is_whole_positive_numbers_or_refused(size: object) -> None:
    found: tuple[int, ...] = (1, 1)
    with contextlib.suppress(UsageError):
        found = parse_size(size)  # type: ignore[arg-type]
    assert len(found) in (2, 3)
    assert all(0 < side <= 8192 for side in found)


def test_the_preset_imagenet_is_torchvisions_evaluation() -> None:
    pre = preset("imagenet", channels=3, size=(224, 224))
    assert (pre.size, pre.crop_size, pre.resize_mode, pre.interpolation) == ((256, 256), (224, 224), "shortest-edge", "bilinear")
    assert pre.image_mean == (0.485, 0.456, 0.406)
    assert pre.input_size == (224, 224)


def test_the_preset_unit_is_zero_to_one_in_the_networks_channels() -> None:
    assert preset("unit", channels=3, size=(8, 9)) == Preprocess(size=(8, 9))
    grey = preset("unit", channels=1, size=(8, 9))
    assert (grey.channels, grey.image_mean, grey.image_std, grey.rescale_factor) == ("L", (0.0,), (1.0,), 1 / 255)
    with pytest.raises(UsageError, match="imagenet is for three channels, the network takes 1"):
        preset("imagenet", channels=1, size=(8, 9))


INLINE = "size=32x40,resize=letterbox,interpolation=bicubic,antialias=false,mean=0.1,0.2,0.3,std=1,2,3,rescale=1,channels=BGR"
WANTED = Preprocess(
    size=(32, 40),
    resize_mode="letterbox",
    interpolation="bicubic",
    antialias=False,
    image_mean=(0.1, 0.2, 0.3),
    image_std=(1.0, 2.0, 3.0),
    rescale_factor=1.0,
    channels="BGR",
)
TABLE = """
size = [32, 40]
resize_mode = "letterbox"
interpolation = "bicubic"
antialias = false
image_mean = [0.1, 0.2, 0.3]
image_std = [1, 2, 3]
rescale_factor = 1.0
channels = "BGR"
"""


def test_text_toml_json_and_values_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "pre.toml").write_text(TABLE)
    (tmp_path / "recipe.toml").write_text("name = 'x'\n[preprocess]" + TABLE)
    (tmp_path / "pre.json").write_bytes(canonical_json(WANTED))
    for said in (INLINE, tmp_path / "pre.toml", str(tmp_path / "recipe.toml"), tmp_path / "pre.json", WANTED, {"size": [32, 40], **_changes()}):
        assert parse_preprocess(said, channels=None, size=None) == WANTED


def _changes() -> dict[str, object]:
    return {name: getattr(WANTED, name) for name in WANTED.__slots__ if name not in ("size", "crop_size")}


def test_what_is_not_said_is_the_networks() -> None:
    pre = parse_preprocess("mean=0.5,std=0.25", channels=1, size=(28, 28))
    assert (pre.size, pre.channels, pre.image_mean, pre.image_std) == ((28, 28), "L", (0.5,), (0.25,))


def test_a_preset_may_be_changed() -> None:
    pre = parse_preprocess("imagenet,interpolation=bicubic,size=232,crop=224", channels=3, size=(224, 224))
    assert (pre.interpolation, pre.size, pre.crop_size, pre.image_std) == ("bicubic", (232, 232), (224, 224), (0.229, 0.224, 0.225))
    assert parse_preprocess("unit,size=16x16", channels=None, size=None).size == (16, 16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size=32x32,image_maen=0,0,0", r"preprocess\.image_maen: there is no such key, did you mean image_mean\?"),
        ("size=32x32,interpolation=cubic", r"preprocess\.interpolation: 'cubic' is none of .*did you mean bicubic\?"),
        ("size=32x32,mean=0.5", r"image_mean has 1 values, RGB has 3 channels"),
        ("size=32x32,mean=a,b,c", r"preprocess\.image_mean: a list was wanted"),
        ("size=32x32,std=0,1,1", "image_std must be positive"),
        ("size=big", "no size"),
        ("size=32x32,size=8x8", r"preprocess\.size: the key stands there twice"),
        ("imagent", r"'imagent' is no preprocessing, did you mean imagenet\?"),
        ("unit", "needs the network's input size"),
        ("mean=0,0,0", r"size is missing"),
        ("size=32x32,crop=64x64", "crop_size .* doesn't fit"),
    ],
)
def test_a_wrong_word_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_preprocess(text, channels=None, size=None)


def test_files_that_hold_no_table(tmp_path: Path) -> None:
    for name, text, words in (("a.toml", "size = [", "is no TOML"), ("b.json", "{", "is no JSON"), ("c.json", "[1]", "holds no table")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=words):
            parse_preprocess(tmp_path / name, channels=None, size=None)
    with pytest.raises(InputMissing, match=r"gone\.toml"):
        parse_preprocess("gone.toml", channels=None, size=None)


@given(st.text(alphabet="abcsize=,x0123.-_ ", max_size=40))
def test_any_text_is_a_preprocessing_or_a_sentence(text: str) -> None:
    with contextlib.suppress(UsageError, InputMissing):
        assert isinstance(parse_preprocess(text, channels=3, size=(8, 8)), Preprocess)
