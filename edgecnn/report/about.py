"""What only a person knows of a model: what it is for, where its images come from, whom to thank. A Markdown file, beside the recipe.

Text before the first heading says what the model is.

## Data
Text under the name of one of the card's sections goes to its head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.artifact.codec import suggestion
from edgecnn.artifact.files import read_whole
from edgecnn.errors import InputMissing, UsageError

SECTIONS = ("Intended use", "Data", "Accuracy", "Parity", "Sizes", "Preprocessing", "Provenance", "Licences", "Limits", "Reproduce")
MAX_BYTES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """summary: what the model is; sections: text by the name of a section."""

    summary: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)


def parse_about(document: str, *, where: str) -> About:
    """Raises UsageError for a section that a card doesn't have, or that stands twice."""
    parts: dict[str, list[str]] = {"": []}
    name, fenced = "", False
    for line in document.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not line.startswith("## ") or fenced:
            parts[name].append(line)
            continue
        name = line[3:].strip()
        if name not in SECTIONS:
            raise UsageError(f"{where} has a section {name!r}{suggestion(name, SECTIONS)}; a card has {', '.join(SECTIONS)}.")
        if name in parts:
            raise UsageError(f"{where} has the section {name!r} twice; put both into one.")
        parts[name] = []
    texts = {name: "\n".join(lines).strip() for name, lines in parts.items()}
    return About(summary=texts.pop(""), sections=texts)


def read_about(path: Path) -> About:
    """Raises InputMissing, or UsageError for what is no text, too long, or has other sections than a card."""
    try:
        data = read_whole(path, MAX_BYTES)
    except OSError as error:
        raise InputMissing(f"{path} can't be read ({error.strerror}); give a Markdown file that says what the model is.") from None
    try:
        return parse_about(data.decode("utf-8"), where=str(path))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no UTF-8 text; give a Markdown file.") from None
