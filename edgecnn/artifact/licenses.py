"""Licences as SPDX writes them, checked for their form: no list of them ages in here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgecnn.errors import UsageError

MAX_LICENSE = 500
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_REFERENCE = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


def license_fault(text: str) -> str | None:
    """Why `text` is no SPDX licence expression, None where it is one: MIT, GPL-2.0-or-later WITH Classpath-exception-2.0, LicenseRef-Mine, ...

    Grammar: https://spdx.github.io/spdx-spec/v3.0.1/annexes/spdx-license-expressions/ .
    """
    tokens = _TOKEN.findall(text) if len(text) <= MAX_LICENSE else []
    depth, before = 0, "AND"
    for token in tokens:
        wants_name = before in ("AND", "OR", "WITH", "(")
        if token == "(":
            fits = wants_name and before != "WITH"
            depth += 1
        elif token == ")":
            fits = not wants_name and depth > 0
            depth -= 1
        elif token in ("AND", "OR", "WITH"):
            fits = not wants_name and not (token == "WITH" and before in (")", "an exception"))
        else:
            fits = wants_name and _is_name(token)
            token = "an exception" if before == "WITH" else token
        if not fits:
            return _said(text)
        before = token
    return _said(text) if depth or before in ("AND", "OR", "WITH", "(") else None


def check_licenses(licenses: Mapping[str, str]) -> None:
    """Whether these are SPDX licences of "model" and "data". Raises UsageError."""
    for what, text in licenses.items():
        if what not in ("model", "data"):
            raise UsageError(f"a licence is the model's or the data's, one of {what!r} was given; write model={text} or data={text}.")
        fault = license_fault(text)
        if fault:
            raise UsageError(f"the {what}'s licence {fault}.")


def _is_name(token: str) -> bool:
    if "Ref-" in token:
        return bool(_REFERENCE.fullmatch(token))
    return bool(_NAME.fullmatch(token.removesuffix("+")))


def _said(text: str) -> str:
    return f"{text[:60]!r} is no SPDX licence, such as Apache-2.0, MIT OR CC0-1.0, or LicenseRef-Mine for one that SPDX doesn't list"
