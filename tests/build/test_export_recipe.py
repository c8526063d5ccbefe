"""A recipe says all that decides an export's bytes, survives its file, and refuses other images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.build.export_recipe import (
    ExportRecipe,
    ImageSet,
    Limits,
    Wanted,
    check_image_sets,
    differences,
    image_set,
    read_export_recipe,
    write_export_recipe,
)
from edgecnn.data.collection import Subset, open_collection
from edgecnn.errors import DataRejected, InputMissing, OutputNotWritable, RecipeError
from tests.fixtures.onnx_nets import color_folder

RECIPE = ExportRecipe(
    quantize="int8",
    opset=18,
    batch="dynamic",
    note='tried "many"\nof them',
    float32_sha256="a" * 64,
    config={"ranges": "mse", "per_channel": False, "percentile": 99.99, "keep_float": ("conv/1", 'a "b"')},
    limits=Limits(atol=1e-5, rtol=1e-5, min_agreement=0.98),
    goal=Wanted(max_drop=0.5, objective="latency"),
    calibration=ImageSet(images=300, sha256="b" * 64),
    tools={"edgecnn": "1", "onnxruntime": "1.31.1"},
)


@pytest.fixture
def images(tmp_path):
    return open_collection(color_folder(tmp_path / "some", 6, seed=1))


def test_it_is_the_same_when_read_again(tmp_path):
    for recipe in (RECIPE, replace(RECIPE, opset=None, batch=4, note=None, calibration=None, config={})):
        write_export_recipe(tmp_path / "r.toml", recipe)
        assert read_export_recipe(tmp_path / "r.toml") == recipe


def test_people_can_read_it(tmp_path):
    write_export_recipe(tmp_path / "r.toml", RECIPE)
    lines = (tmp_path / "r.toml").read_text().splitlines()
    assert lines[0].startswith("# Made by `edgecnn export --quantize auto`")
    assert 'quantize = "int8"' in lines
    assert lines[lines.index("[config]") + 1] == 'ranges = "mse"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantize = ", "is no TOML"),
        ("\xff", "is no TOML"),
        ("[[[[", "is no TOML"),
        ('quantize = "int8"', "is missing"),
        ("schema = 2", "has the schema 2, this edgecnn reads 1"),
        ('quantiser = "int8"', "there is no such key, did you mean quantize?"),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_sentence(tmp_path, text, message):
    (tmp_path / "r.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError) as info:
        read_export_recipe(tmp_path / "r.toml")
    assert message in str(info.value)


def test_a_recipe_that_is_not_there_is_missing(tmp_path):
    for place in (tmp_path / "none.toml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(InputMissing, match="give a recipe"):
            read_export_recipe(place)


def test_it_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(OutputNotWritable):
        write_export_recipe(tmp_path / "no" / "r.toml", RECIPE)


def test_other_calibration_images_are_refused_by_their_content(images):
    recipe = replace(RECIPE, calibration=image_set(images))
    check_image_sets(recipe, calibration=images, training=images)
    check_image_sets(replace(recipe, calibration=None), calibration=images, training=None)
    with pytest.raises(DataRejected, match="the 5 of the 6 calibration images are not the recipe's 6"):
        check_image_sets(recipe, calibration=Subset(whole=images, positions=frozenset(range(5))), training=None)


def test_whatever_else_differs_is_said(images):
    recipe = replace(RECIPE, validation=image_set(images))
    same = {"validation": images, "float32_sha256": "a" * 64, "tools": dict(RECIPE.tools)}
    assert differences(recipe, **same) == ()
    (found,) = differences(recipe, **same | {"tools": {"edgecnn": "1", "onnxruntime": "1.40.0"}})
    assert found.endswith("onnxruntime 1.31.1 then and 1.40.0 now")
    (found,) = differences(recipe, **same | {"float32_sha256": "c" * 64})
    assert "not the one that the recipe was found for" in found
    (found,) = differences(recipe, **same | {"validation": None})
    assert "golden images" in found
