"""The first line says what is wrong and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.build.blame import Advice, Blame, Cure, LayerRow, StageRow
from edgecnn.build.blame.records import TensorRow, number_text
from edgecnn.device.differences import Differences


def measured(sqnr_db, agreeing=4):
    return Differences(samples=4, max_abs=1.0, mean_abs=1.0, sqnr_db=sqnr_db, cosine=1.0, agreeing=agreeing, kl_divergence=0.0)


def stage(name, *failures, **facts):
    return StageRow(stage=name, what="", limit="", failures=failures, advice="pray" if failures else None, **facts)


LAYER = LayerRow(
    layer="conv1",
    operator="Conv",
    sqnr_db=7.0,
    weights_sqnr_db=30.0,
    activations_sqnr_db=7.0,
    tensors=(),
    advice=(Advice(cause="it is narrow", cure="widen it"),),
)
NOW = Cure(config="", found=measured(7.0))
SOUND = Blame(
    file="a.edgecnn", reference="net.onnx", images=4, origin="data", stages=(stage("export"), stage("packaged", against_source=measured(30.25, 3)))
)
NOISY = replace(SOUND, stages=(stage("export"), stage("quantize", "it is noisy"), stage("packaged", "it is noisy")), layers=(LAYER,))


def test_a_sound_artifact_s_says_how_near_it_is():
    assert SOUND.verdict == "no stage of a.edgecnn falls short of its limits: it decides 3 of 4 images as its network does, 30.2 dB."
    exact = replace(SOUND, stages=(stage("packaged", against_source=measured(None)),))
    assert exact.verdict.endswith("as its network does.")
    assert (exact.culprit, exact.entered, exact.passed) == (None, None, True)
    assert not replace(SOUND, stages=()).passed


def test_what_could_not_be_told_is_named():
    found = replace(SOUND, stages=(stage("preprocessing", judged=False), *SOUND.stages))
    assert "falls short of its limits (preprocessing couldn't be told): it decides" in found.verdict


def test_the_first_that_falls_short_is_named_with_what_to_do():
    found = replace(NOISY, stages=(stage("export", "it differs", "it is NaN"), *NOISY.stages[1:]), layers=())
    assert found.verdict == "a.edgecnn falls short first at export: it differs; it is NaN. To do: pray."
    assert found.short == "a.edgecnn falls short first at export: it differs; it is NaN."


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ((LAYER,), "most of the noise comes from conv1, which alone brings the logits down to 7.0 dB. "),
        ((LAYER, replace(LAYER, layer="b")), "most of the noise comes from conv1, b, which alone bring the logits down to 7.0 dB and less. "),
        (
            (LAYER, *(replace(LAYER, layer=name) for name in "bcde")),
            "most of the noise comes from conv1, b, c and 2 more, which alone bring the logits down to 7.0 dB and less. ",
        ),
        ((replace(LAYER, advice=()),), "no layer stands out, the noise comes from many. "),
    ],
)
def test_the_layers_that_stand_out_are_named(layers, told):
    assert told in replace(NOISY, layers=layers).verdict


@pytest.mark.parametrize(
    ("cures", "told"),
    [
        ((), "To do: pray."),
        ((NOW, Cure(config="x=1")), "To do: give --calibration, and these are tried: --config x=1."),
        (
            (NOW, Cure(config="x=1", found=measured(21.0), enough=True), Cure(config="y=1", found=measured(33.0), enough=True)),
            "To do: export it with --config x=1, which brings the logits from 7.0 dB to 21.0 dB.",
        ),
        (
            (NOW, Cure(config="x=1", found=measured(None), enough=True)),
            "To do: export it with --config x=1, which brings the logits from 7.0 dB to no noise.",
        ),
        (
            (NOW, Cure(config="x=1", found=measured(9.0))),
            "from 7.0 dB to 9.0 dB, which isn't enough yet, so fine-tune it too (edgecnn export --qat), or let --quantize auto search.",
        ),
        (
            (NOW, Cure(config="x=1", found=measured(6.0))),
            "To do: no other option of the quantizer helps, so fine-tune it (edgecnn export --qat), or keep float32.",
        ),
    ],
)
def test_what_was_tried_and_helps_is_what_to_do(cures, told):
    assert replace(NOISY, cures=cures).verdict.endswith(told)


def test_a_sure_cause_comes_before_what_was_tried():
    found = replace(NOISY, layers=(replace(LAYER, advice=(*LAYER.advice, Advice(cause="it is narrow", cure="widen it", sure=True))),))
    assert found.verdict.endswith("To do: widen it (conv1: it is narrow).")
    helps, poor = Cure(config="x=1", found=measured(21.0), enough=True), Cure(config="x=1", found=measured(9.0))
    assert replace(found, cures=(NOW, helps)).verdict.endswith(
        "To do: widen it (conv1: it is narrow); or export it with --config x=1, which brings the logits from 7.0 dB to 21.0 dB."
    )
    assert replace(found, cures=(NOW, poor)).verdict.endswith("To do: widen it (conv1: it is narrow).")


def test_where_the_fault_came_in_is_told_with_what_may_be_other_than_it_was():
    record = stage("export", made="rebuilt otherwise", note="it comes out otherwise than recorded, with torch 2.13 for 2.12")
    found = replace(SOUND, stages=(record, stage("packaged", "it differs")), changed=("n0 is a Sin where a rebuild gives a Cos",))
    assert found.entered is record
    assert found.verdict == (
        "a.edgecnn falls short first at packaged: it differs; its export stage comes out otherwise than recorded, with torch 2.13 for 2.12, "
        "so the fault came in there or after it, or net.onnx isn't the network that it was made from; n0 is a Sin where a rebuild gives a Cos. "
        "To do: pray."
    )


def test_weights_that_are_mostly_another_network_s_say_that_the_reference_is_another():
    other, same = (TensorRow(tensor=name, kind="weight", matched=True, sqnr_db=db) for name, db in (("w", -3.0), ("v", 40.0)))
    found = replace(NOISY, layers=(replace(LAYER, tensors=(other, other, same)),), cures=())
    assert found.verdict == (
        "a.edgecnn falls short first at quantize: it is noisy; its weights w, w are none of net.onnx's, so that isn't the network that it was made "
        "from. To do: give the network that it was made from as --reference."
    )
    assert replace(NOISY, layers=(replace(LAYER, tensors=(other, same)),)).foreign == ()


def test_numbers_have_three_digits_and_no_exponent_where_none_is_needed():
    assert [number_text(value) for value in (0.123456, 12.345, 1234.5, -45678.9, 1.5e7)] == ["0.123", "12.3", "1234", "-45679", "1.5e+07"]
