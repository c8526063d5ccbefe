"""The Markdown is the card with what else is known, in tables that stay tables."""

from __future__ import annotations

import re

import pytest

from edgecnn.report.sheet import Sheet, write
from tests.report.sheet.conftest import HOSTILE, MakeSheet


def headings(document: str) -> list[str]:
    return re.findall(r"^## (.+)$", document, re.MULTILINE)


def section(document: str, name: str) -> str:
    return document.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_sections_stand_where_they_belong(make_sheet: MakeSheet) -> None:
    document = write(make_sheet(), "md")
    assert document.startswith("# colors 1.0.0\n\nTells *colours* apart.")
    after = ["Parity", "Sizes", "Speed", "Layers", "Memory", "Training", "Provenance", "Licences", "Limits"]
    assert headings(document) == ["Data", "Accuracy", "Mistakes", "Confidence", *after]
    assert headings(write(make_sheet(full=False), "md")) == ["Accuracy", "Parity", "Sizes", "Layers", "Memory", "Provenance", "Licences", "Limits"]
    assert "data:image" not in document
    assert "\n\n\n" not in document


def test_the_figures_are_those_that_were_measured(make_sheet: MakeSheet) -> None:
    document = write(make_sheet(), "md")
    assert re.search(r"\| green +\| blue +\| +1 \| +33\.3 % \|", section(document, "Mistakes"))
    assert "Of 9 decisions 88.9 % are right, and their mean score is 100.0 %: on the whole 11.1 points too sure" in section(document, "Confidence")
    assert re.search(r"\| 1\.040 ms \| +1\.080 ms \| 1\.080 ms \|", section(document, "Speed"))
    assert "At most 780 bytes of activations live at one time, at /pool/GlobalAveragePool" in section(document, "Memory")
    assert re.search(r"\| validation +\| 0\.4400 +\| +40\.00 % \|", section(document, "Training"))


def test_several_labels(make_sheet: MakeSheet) -> None:
    document = write(make_sheet(several=True), "md")
    assert re.search(r"\| green +\| missed +\| +1 \| +33\.3 % \|", section(document, "Mistakes"))
    assert re.search(r"\| blue +\| false alarm +\| +1 \| +16\.7 % \|", section(document, "Mistakes"))
    assert "the mean over the labels" in section(document, "Confidence")


@pytest.mark.parametrize("name", ["Accuracy", "Mistakes", "Layers", "Licences"])
def test_tables_stay_tables_whatever_names_say(name: str, hostile_sheet: Sheet) -> None:
    document = write(hostile_sheet, "md")
    for block in section(document, name).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_only_what_a_person_wrote_may_be_markup(hostile_sheet: Sheet) -> None:
    document = write(hostile_sheet, "md").replace(HOSTILE, "")  # the summary and a section are theirs
    outside = re.sub(r"`[^`\n]*`", "", document)
    assert not re.search(r"(?<!\\)<script|(?<!\\)<img|(?<!\\)\[x\]", outside)
