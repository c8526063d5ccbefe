"""A recipe says everything about a run; what it can't mean is refused with the key and a guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import InputMissing, RecipeError
from edgecnn.train.recipe import Schedule, load_recipe

WriteRecipe = Callable[..., Path]


def test_values_arrive(recipe_file: WriteRecipe) -> None:
    recipe = load_recipe(recipe_file())
    assert recipe.net.name == "simplecnn"
    assert recipe.net.options["channels"] == (4,)
    assert recipe.schedule.batch_size == 16
    assert recipe.preprocess.size == (12, 12)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("learning_rate", "lerning_rate", "optimizer.lerning_rate: there is no such key, did you mean learning_rate?"),
        ("[schedule]", "[scheduel]", "did you mean schedule?"),
        ("epochs = 3", "epochs = 0", "epochs must be positive"),
        ("epochs = 3", 'epochs = "three"', "schedule.epochs: a whole number was wanted, 'three' was found"),
        ("single-label", "singel-label", "did you mean single-label?"),
        ("held_out = 16", "", "either validation or held_out"),
        ("size = [12, 12]", "size = [12]", "preprocess.size: 2 values were wanted, 1 were found"),
        ("size = [12, 12]", "size = [12, 12]\nimage_std = [1, 0, 1]", "image_std must be positive"),
        ("learning_rate = 0.05", "learning_rate = nan", "no finite number"),
        ("[net]", "[net", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(recipe_file: WriteRecipe, old: str, new: str, says: str) -> None:
    with pytest.raises(RecipeError, match=r".") as caught:
        load_recipe(recipe_file(**{old: new}))
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_recipe_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"none\.toml doesn't exist"):
        load_recipe(tmp_path / "none.toml")


def test_overrides_change_values_and_are_checked_too(recipe_file: WriteRecipe) -> None:
    recipe = load_recipe(recipe_file(), overrides={"schedule.epochs": "7", "net.options.channels": "[2, 3]", "name": "other"})
    assert (recipe.schedule.epochs, recipe.net.options["channels"], recipe.name) == (7, (2, 3), "other")
    with pytest.raises(RecipeError, match="did you mean epochs"):
        load_recipe(recipe_file(), overrides={"schedule.epoch": "7"})


def test_identity_is_what_a_recipe_means_not_where_it_lies(recipe_file: WriteRecipe) -> None:
    recipe = load_recipe(recipe_file())
    moved = load_recipe(recipe_file(**{'path = "pictures"': 'path = "elsewhere"'}))
    commented = load_recipe(recipe_file(**{"[net]": "# a remark\n[net]"}))
    longer = load_recipe(recipe_file(**{"epochs = 3": "epochs = 4"}))
    assert recipe.sha256 == moved.sha256 == commented.sha256 != longer.sha256


@given(epochs=st.integers(1, 50), warm=st.floats(0, 0.99), steps=st.integers(1, 200))
def test_learning_rate_rises_then_falls_and_never_leaves_zero_to_one(epochs: int, warm: float, steps: int) -> None:
    schedule = Schedule(epochs=epochs, warmup_epochs=warm * epochs)
    factors = [schedule.factor(step, steps) for step in range(epochs * steps)]
    peak = factors.index(max(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
