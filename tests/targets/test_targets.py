from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.errors import InputMissing, TargetRejected, UsageError
from edgecnn.targets import find, read_profile
from tests.fixtures.probes import EXACT, SATURATED, probe_file, runtime

GOOD = {
    "title": '"a board"',
    "machine": '"aarch64"',
    "isa": "[]",
    "cores": "4",
    "memory_mb": "1024",
    "opset": "20",
    "ir_version": "9",
    "source": '"its maker"',
}


def profile(path: Path, **changes: str | None) -> Path:
    path.write_text("".join(f"{key} = {value}\n" for key, value in {**GOOD, **changes}.items() if value is not None))
    return path


def test_an_unknown_name_is_guessed_and_the_others_are_named() -> None:
    with pytest.raises(UsageError, match=r"no target 'rpi44', did you mean rpi4\?; there are .*jetson-orin.*, and what `edgecnn probe --json` wrote"):
        find("rpi44")


@pytest.mark.parametrize("text", ["", "..", "rpi4.toml", "__init__", "RPI4"])
def test_only_names_are_names(text: str) -> None:
    with pytest.raises(UsageError, match="there is no target"):
        find(text)


@pytest.mark.parametrize("text", ["./rpi4", "gone/probe.json", "probe.json"])
def test_a_path_is_a_probe_s(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputMissing):
        find(text)


@pytest.mark.parametrize(
    ("name", "saturates", "dot_product"),
    [
        ("generic", True, False),
        ("x86-64", True, False),
        ("x86-64-vnni", False, False),
        ("rpi3", False, False),
        ("rpi4", False, False),
        ("armv8", False, False),
        ("rpi5", False, True),
        ("jetson-orin", False, True),
    ],
)
def test_how_a_cpu_adds_int8_follows_from_its_extensions(name: str, saturates: bool, dot_product: bool) -> None:
    found = find(name)
    assert (found.saturates, found.dot_product, found.fault) == (saturates, dot_product, None)


def test_nothing_runs_on_armv7_and_why_is_told() -> None:
    assert "no wheel for 32-bit Arm (armv7l)" in (find("armv7").fault or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cores": None}, "cores is missing"),
        ({"cores": '"four"'}, "cores: a whole number was wanted"),
        ({"cores": "0"}, "1 or more"),
        ({"core": "4"}, r"core: there is no such key, did you mean cores\?"),
        ({"source": '""'}, "must say something"),
        ({"isa": '"asimd"'}, "a list was wanted"),
        ({"title": '"a\\u001b[2J"'}, "can't be printed"),
        ({"title": "a board"}, "is no profile"),
        ({"title": '"a" # or another'}, "is no profile"),
        ({"memory_mb": "1_024"}, "is no profile"),
        ({"memory_mb": "1024.0"}, "memory_mb: a whole number was wanted"),
        ({"memory_mb": "NaN"}, "memory_mb: a whole number was wanted"),
        ({"isa": '["asimd", 7]'}, r"isa\[1\]: a text was wanted"),
        ({"cores": "4\ncores = 4"}, "line 5 is no `key = value`, or says a key twice"),
        ({"cores": "4\n[table]"}, "line 5 is no `key = value`"),
        ({"cores": "4\nno-word = 4"}, "line 5 is no `key = value`"),
    ],
)
def test_a_profile_that_says_something_else_is_refused(changes: dict[str, str | None], said: str, tmp_path: Path) -> None:
    assert read_profile(profile(tmp_path / "mine.toml")).name == "mine"
    with pytest.raises(TargetRejected, match=said):
        read_profile(profile(tmp_path / "mine.toml", **changes))


def test_comments_and_empty_lines_say_nothing(tmp_path: Path) -> None:
    path = profile(tmp_path / "mine.toml")
    wanted = read_profile(path)
    path.write_text("# of a board\n\n" + path.read_text().replace("\n", "\n\n# so\n"))
    assert read_profile(path) == wanted


def test_a_profile_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'title = "\xff"')
    for path in (tmp_path / "mine.toml", tmp_path / "gone.toml", tmp_path):
        with pytest.raises(TargetRejected, match="is no profile"):
            read_profile(path)


# probes


def test_a_probe_is_a_target_of_what_was_measured(tmp_path: Path) -> None:
    found = find(probe_file(tmp_path / "p.json"))
    assert (found.name, found.machine, found.cores, found.opset, found.ir_version) == ("Raspberry Pi 4 Model B Rev 1.4", "aarch64", 4, 20, 9)
    assert found.memory_mb == 3_900_000_000 >> 20
    assert (found.fault, found.saturates) == (None, False)
    assert "1.17.3" in found.source


def test_what_was_measured_counts_more_than_what_the_cpu_says(tmp_path: Path) -> None:
    x86 = {"machine": "x86_64", "board": None}
    silent = find(probe_file(tmp_path / "a.json", **x86, isa=(), onnxruntime=runtime(products=EXACT)))
    wrong = find(probe_file(tmp_path / "b.json", **x86, isa=("avx512_vnni",), onnxruntime=runtime(products=SATURATED)))
    unasked = find(probe_file(tmp_path / "c.json", **x86, isa=("avx2",), onnxruntime=runtime(products=None)))
    assert [found.saturates for found in (silent, wrong, unasked)] == [False, True, True]


def test_where_onnxruntime_died_nothing_runs_and_how_it_died_is_kept(tmp_path: Path) -> None:
    dead = runtime(opset=None, ir_version=None, failure="it was killed by SIGILL while onnxruntime was imported")
    assert find(probe_file(tmp_path / "p.json", onnxruntime=dead)).fault == (
        "onnxruntime doesn't run there: it was killed by SIGILL while onnxruntime was imported"
    )


def test_a_32_bit_system_on_a_64_bit_board_is_told(tmp_path: Path) -> None:
    dead = runtime(opset=None, ir_version=None, failure="onnxruntime isn't installed")
    assert "32-bit Arm (aarch64)" in (find(probe_file(tmp_path / "p.json", bits=32, onnxruntime=dead)).fault or "")
    # somebody built one for it, and it runs
    assert find(probe_file(tmp_path / "p.json", machine="armv7l", bits=32)).fault is None
