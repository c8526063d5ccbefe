"""Values that options can't have, and names that no file can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input.conftest import DESCRIBED, Refused

LONG = "x" * 300

EXPORT = [
    ("--quantize", "int4", 2, "'int4' is not one of"),
    ("--opset", "12", 2, "between 13 and 20 was wanted"),
    ("--opset", "21", 2, "between 13 and 20 was wanted"),
    ("--opset", "new", 2, "new"),
    ("--batch", "-1", 2, "'-1' is no batch"),
    ("--batch", "1.5", 2, "'1.5' is no batch"),
    ("--batch", "0", 2, "'0' is no batch"),
    ("--name", "a/b", 2, "name"),
    ("--model-version", "latest", 2, "version"),
    ("--sequence", "-1", 2, "sequence"),
    ("--sequence", "1e9", 2, "1e9"),
    ("--task", "both", 2, "'both' is not one of"),
    ("--atol", "-1", 2, "atol must be 0 or more"),
    ("--atol", "nan", 2, "atol"),
    ("--rtol", "inf", 2, "rtol"),
    ("--min-agreement", "98", 2, "min_agreement must lie between 0 and 1"),
    ("--min-agreement", "nan", 2, "min_agreement"),
    ("--preprocess", "imagnet", 2, "did you mean imagenet?"),
    ("--preprocess", "size=huge", 2, "size"),
    ("--preprocess", "size=0x0", 2, "size"),
    ("--preprocess", "size=32x32", 2, "make them agree"),
    ("--preprocess", "size=16x16,std=0,0,0", 2, "std"),
    ("--preprocess", "size=16x16,mean=0.5", 2, "mean"),
    ("--preprocess", "size=16x16,meen=0,0,0", 2, "preprocess.meen: there is no such key"),
    ("--preprocess", "gone.toml", 3, "gone.toml can't be read"),
    ("--preprocess", f"{LONG}.toml", 3, "can't be read"),
    ("--labels", LONG, 3, "can't be read"),
    ("--labels", "", 3, "can't be read"),
    ("--input-size", "16", 2, "is no size"),
    ("--input-size", "99999999x16", 2, "is no size"),
    ("--input-size", "3x20x20", 2, "make them agree"),
    ("--output-index", "1", 2, "Output 1 was asked for, the network has 1"),
    ("--output-index", "-1", 2, "Output -1 was asked for"),
    ("--license", "MIT", 2, "'MIT' is no KEY=VALUE"),
    ("--license", "=MIT", 2, "'=MIT' is no KEY=VALUE"),
    ("--license", "model=Apache 2.0", 2, "the model's licence 'Apache 2.0' is no SPDX licence, such as Apache-2.0"),
    ("--license", "weights=MIT", 2, "write model=MIT or data=MIT"),
    ("--arg", "width=4", 2, "Weights and arguments belong to"),
    ("--weights", "w.safetensors", 2, "Weights and arguments belong to"),
    ("--calibration", "gone", 3, "gone doesn't exist"),
    ("--calibration", LONG, 3, "x"),
    ("--validation", LONG, 3, "x"),
    ("--log", LONG, 4, "the log"),
    ("-o", f"{LONG}.edgecnn", 4, "can't be written (File name too long)"),
]


@pytest.mark.parametrize(("option", "value", "code", "says"), EXPORT)
def test_export(option: str, value: str, code: int, says: str, made: Path, refused: Refused) -> None:
    described = [] if option in ("--preprocess", "--labels", "--input-size") else DESCRIBED
    assert says in refused("export", made / "colors.onnx", "-o", "old.edgecnn", *described, option, value, code=code)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "old.edgecnn"], 2, "Missing argument 'INPUT...'"),
        (["run", "old.edgecnn", "a.png", "--top", "0"], 2, "--top"),
        (["run", "old.edgecnn", f"{LONG}.png"], 3, "File name too long"),
        (["run", "old.edgecnn", f"{LONG}.npy"], 3, "File name too long"),
        (["run", f"{LONG}.edgecnn", "a.png"], 3, "can't be read (File name too long)"),
        (["validate", "old.edgecnn", "--min-accuracy", "0.5"], 2, "--min-accuracy 0.5 needs --data"),
        (["validate", "old.edgecnn", "--data", LONG, "--json"], 3, "x"),
        (["validate", f"{LONG}.edgecnn"], 3, "can't be read (File name too long)"),
        (["inspect", f"{LONG}.onnx"], 3, "can't be read (File name too long)"),
        (["bench", f"{LONG}.onnx"], 3, "can't be read (File name too long)"),
        (["bench", "old.edgecnn", "--min-seconds", "inf"], 2, "can't be measured"),
        (["bench", "old.edgecnn", "--warmup", "-1"], 2, "can't be measured"),
        (["diff", "old.edgecnn"], 2, "Missing argument 'B'"),
        (["diff", "old.edgecnn", f"{LONG}.edgecnn"], 3, "can't be read (File name too long)"),
        (["diff", "old.edgecnn", f"{LONG}.onnx"], 3, "can't be read (File name too long)"),
        (["diff", "old.edgecnn", "old.edgecnn", "--ignore", "names"], 2, "'names' is not one of"),
        (["diff", "old.edgecnn", "old.edgecnn", "--show", "-1"], 2, "--show"),
        (["card", "old.edgecnn", "--data-name", "the test set"], 2, "--data-name names the images of --data"),
        (["card", "old.edgecnn", "--about", "gone.md"], 3, "gone.md"),
        (["card", "old.edgecnn", "--recipe", "gone.toml"], 3, "gone.toml can't be read"),
        (["card", "old.edgecnn", "--float32", "gone.edgecnn"], 3, "gone.edgecnn doesn't exist"),
        (["train", f"{LONG}.toml"], 3, "can't be read (File name too long)"),
        (["train", "gone.toml", "--set", "schedule.epochs"], 2, "has no '='"),
        (["train", "gone.toml", "--devices", "0"], 2, "--devices"),
    ],
)
def test_other_commands(arguments: list[str], code: int, says: str, refused: Refused) -> None:
    assert says in refused(*arguments, code=code)
