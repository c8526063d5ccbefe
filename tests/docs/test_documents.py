"""Every command and code block of the README and of docs/ runs, and prints what the page shows, but for its numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks, commands, fault, run

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs_and_prints_what_is_shown(page: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    for block in blocks(page):
        check(block, tmp_path)


def check(block: Block, folder: Path) -> None:
    where = f"{block.page}:{block.line}"
    if block.file is not None:
        place = folder / block.file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        done = subprocess.run([sys.executable, "-c", block.text], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{where}\n{done.stderr}"
    elif block.language == "console":
        check_commands(block, folder)
    else:
        assert block.language in ("text", "toml"), f"{where}: a block of language {block.language!r} is neither run nor said to be no code"


def check_commands(block: Block, folder: Path) -> None:
    allowed = [int(code) for code in block.options.get("exit", "0").split(",")]
    for number, command in enumerate(commands(block)):
        extra = f" {block.options['args']}" if number == 0 and "args" in block.options else ""
        code, output = run(command.text + extra, folder)
        where = f"{block.page}:{command.line}: {command.text}{extra}"
        assert code in allowed, f"{where}\nended with {code}:\n{output}"
        if block.options.get("output") != "any":
            wrong = fault(command.output, output)
            assert wrong is None, f"{where}\n{wrong}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


# the harness itself


def test_a_page_that_shows_other_words_is_found_out() -> None:
    shown = ("export  1.0 s  22 nodes", "...", "label cat 0.9")
    assert fault(shown, "export  8.5 s  23 nodes\nvalidate\nlabel cat 0.1\n") is None
    assert fault(shown, "export  8.5 s  23 nodes\nlabel dog 0.1\n") is not None
    assert fault(shown, "exported  8.5 s  23 nodes\nlabel cat 0.1\n") is not None
    assert fault(shown[:1], "export 1.0 s 1 nodes\nand more\n") is not None
    assert fault(shown[:1], "") is not None
    assert fault((*shown[:1], "..."), "export 1.0 s 1 nodes\nand more\n") is None


def test_blocks_files_and_options_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '<!-- file: a.py -->\n```python\nx = 1\n```\n\n<!-- tests: args="--n 2" exit=0,1 -->\n\n```console\n$ run \\\n  it\nout\n$ next\n```\n'
    )
    first, second = blocks(page)
    assert (first.file, first.text) == ("a.py", "x = 1\n")
    assert second.options == {"args": "--n 2", "exit": "0,1"}
    assert [(command.text, command.output) for command in commands(second)] == [("run \\\n  it", ("out",)), ("next", ())]
