"""What is said of a layer follows from its figures, and names only what helps: the tests of cures try it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.build.blame.advice import advise, outstanding
from edgecnn.build.blame.records import LayerRow, TensorRow
from edgecnn.build.quantize import configure

EVERY = configure("int8", {})
FINE = TensorRow(
    tensor="t",
    kind="activation",
    matched=True,
    sqnr_db=45.0,
    low=0.0,
    high=5.0,
    range_low=0.0,
    range_high=5.1,
    channels=1,
    saturated=0.0,
    channel_high=(4.0, 5.0),
)
WEIGHT = TensorRow(tensor="w", kind="weight", matched=True, sqnr_db=30.0, channels=16)


def advice(tensor, *, weights=None, output=None, options=EVERY):
    """Of a layer that the one part costs as much as it costs in all."""
    part = {"weight": (20.0, None), "activation": (None, 20.0)}[tensor.kind]
    weights, output = (weights, output) if weights or output else part
    row = LayerRow(layer="conv1", operator="Conv", sqnr_db=20.0, weights_sqnr_db=weights, activations_sqnr_db=output, tensors=(tensor,))
    return tuple(map(str, advise(row, options)))


def test_what_saturates_wants_other_images_or_wider_ranges():
    (told,) = advice(replace(FINE, saturated=0.2, high=50.0), options={**EVERY, "ranges": "percentile"})
    assert told == (
        "its output t goes from 0 to 50 and its range from 0 to 5.1, so 20.0% of it saturate: "
        "take wider ranges (ranges=minmax), or calibrate on images like these"
    )
    assert "ranges=" not in advice(replace(FINE, saturated=0.2, high=50.0))[0]  # it is minmax already


def test_a_few_values_far_beyond_the_range_saturate_too():
    assert "so 0.1% of it saturate" in advice(replace(FINE, saturated=0.001, high=11.0))[0]
    assert "saturate" not in advice(replace(FINE, saturated=0.001, high=9.0))[0]
    below = replace(FINE, low=-11.0, range_low=-5.0, saturated=0.001)
    assert "saturate" in advice(below)[0]
    assert "saturate" not in advice(replace(below, low=-9.0))[0]


def test_a_range_far_wider_than_its_values_wants_other_images():
    assert advice(replace(FINE, high=0.5))[0].endswith("so most levels are never used: calibrate on images like these, without odd ones")


def test_a_loud_channel_is_told_with_what_makes_channels_alike():
    loud = replace(FINE, high=1100.0, range_high=1200.0, channel_high=(11.6, 1100.0))
    (told,) = advice(loud, options={**EVERY, "equalize": False})
    assert "for a channel that reaches 1100, where half of the channels stay within 11.6 and share few levels: make the channels alike" in told
    assert "(equalize=true)" in told
    assert "equalize" not in advice(loud, options={**EVERY, "equalize": True})[0]
    assert "channel" not in advice(replace(FINE, channel_high=(0.0, 0.0)))[0]


def test_a_range_that_few_values_reach_wants_a_method_that_gives_them_up():
    assert "few of its values lie near the ends: give these up (ranges=entropy, ranges=mse), or keep it" in advice(replace(FINE, sqnr_db=30.0))[0]
    assert "ranges=" not in advice(replace(FINE, sqnr_db=30.0), options={**EVERY, "ranges": "mse"})[0]


def test_where_nothing_is_wrong_with_it_only_float_is_left():
    assert advice(FINE)[0].endswith("the answers hang on it: keep it in float with what reads it")
    assert advice(replace(FINE, matched=False, low=None, high=None)) == ("its output t doesn't bear 8 bits: keep it in float with what reads it",)


def test_weights_with_one_scale_want_one_a_channel():
    (told,) = advice(replace(WEIGHT, channels=1), options={**EVERY, "per_channel": False})
    assert told == "its weights w have one scale for all channels: give each its own (per_channel=true)"
    assert "per_channel" not in advice(WEIGHT)[0]


def test_corrections_are_named_only_where_the_quantizer_has_them_and_they_are_off():
    have = {"equalize": False, "correct_bias": False, "rounding": "nearest"}
    assert "(equalize=true, correct_bias=true, rounding=adaptive), or keep it in float" in advice(WEIGHT, options=have)[0]
    off = advice(WEIGHT, options={"equalize": True, "rounding": "adaptive"})
    assert off == ("its weights w don't bear 8 bits: keep it in float with what reads it",)
    assert advice(WEIGHT, options={}) == off


def test_foreign_weights_are_no_matter_of_rounding():
    assert "aren't the reference's (1.0 dB), which no rounding explains: export it again" in advice(replace(WEIGHT, sqnr_db=1.0))[0]


def test_what_finer_rounding_would_not_cure_is_sure():
    def sure(tensor):
        row = LayerRow(layer="x", operator="Conv", sqnr_db=9.0, weights_sqnr_db=9.0, activations_sqnr_db=9.0, tensors=(tensor,))
        return [said.sure for said in advise(row, EVERY)]

    assert sure(replace(FINE, saturated=0.2)) == sure(replace(FINE, high=0.5)) == sure(replace(WEIGHT, sqnr_db=1.0)) == [True]
    assert sure(FINE) == sure(WEIGHT) == sure(replace(FINE, channel_high=(0.1, 5.0))) == [False]


def test_only_the_part_that_makes_the_noise_is_told_of():
    assert advice(WEIGHT, weights=30.0, output=20.5) == ()
    assert len(advice(WEIGHT, weights=25.0, output=21.0)) == 1
    assert advise(LayerRow(layer="x", operator="Conv", sqnr_db=None, weights_sqnr_db=None, activations_sqnr_db=None, tensors=(WEIGHT,)), EVERY) == ()


# which layers stand out


def rows(*decibels):
    return [
        LayerRow(layer=str(i), operator="Conv", sqnr_db=db, weights_sqnr_db=db, activations_sqnr_db=None, tensors=()) for i, db in enumerate(decibels)
    ]


@pytest.mark.parametrize(
    ("decibels", "names"),
    [
        ((20, 40, 40, 40), ("0",)),
        ((40, 20, 21, 40, 40, 40), ("2", "1")[::-1]),
        ((20, 40, None), ("0",)),
        ((None, 20), ("1",)),
        ((30, 30, 30, 30, 30, 30), ()),  # all alike
        ((25, 26, 27, 28, 29, 30), ()),  # four of six make most of it
        ((46, 80, 80), ()),  # 1 % of what is allowed
        ((None, None), ()),
        ((), ()),
    ],
)
def test_the_few_layers_that_make_most_of_the_noise_stand_out(decibels, names):
    assert outstanding(rows(*decibels), allowed_db=25) == names
