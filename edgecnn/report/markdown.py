"""Small pieces of Markdown, and Markdown as HTML. Texts from an artifact are data: nothing in them may act as markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markupsafe import Markup

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def text(value: str) -> str:
    """`value` on one line, its special characters escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))


def code(value: str) -> str:
    """`value` as a code span that may also stand in a table."""
    return f"`{' '.join(value.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Iterator[str]:
    """The lines of a table, the first row its heading; cells are Markdown already. The columns numbered in `right` are flush right.

    Columns are padded so that the source reads as well as the page.
    """
    widths = [max(3, *(len(row[place]) for row in rows)) for place in range(len(rows[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.rjust(width) if place in right else cell.ljust(width) for place, (cell, width) in enumerate(zip(cells, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    yield line(rows[0])
    yield line(["-" * (width - 1) + ":" if place in right else "-" * width for place, width in enumerate(widths)])
    yield from map(line, rows[1:])


def html(document: str) -> Markup:
    """Markdown as HTML for a page: tables in a box that scrolls; HTML in it is shown as text, and pictures are left out, for a page loads nothing.

    Raises ModuleNotFoundError where markdown-it-py isn't installed.
    """
    from markupsafe import Markup

    written: str = _parser().render(document)
    return Markup(written.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>"))


def inline_html(line: str) -> Markup:
    """`html` of one paragraph, without the paragraph around it."""
    from markupsafe import Markup

    return Markup(_parser().renderInline(" ".join(line.split())))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
