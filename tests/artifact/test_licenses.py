"""Licences are written as SPDX writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.licenses import license_fault

GOOD = [
    "MIT",
    "Apache-2.0",
    "GPL-2.0+",
    "LicenseRef-CIFAR-10",
    "DocumentRef-spdx-tool-1.2:LicenseRef-MIT-Style-2",
    "MIT OR Apache-2.0",
    "GPL-2.0-or-later WITH Classpath-exception-2.0",
    "(MIT AND (LGPL-2.1-only OR BSD-3-Clause)) OR CC0-1.0",
    "NOASSERTION",
]
BAD = [
    "",
    " ",
    "Apache 2.0",
    "the MIT licence",
    "MIT OR",
    "AND MIT",
    "MIT Apache-2.0",
    "(MIT",
    "MIT)",
    "()",
    "MIT WITH",
    "(MIT) WITH x",
    "MIT WITH (x)",
    "MIT WITH a WITH b",
    "http://opensource.org/MIT",
    "MIT;",
    "LicenseRef-",
    "MyRef-x/y",
    "MIT " + "OR MIT " * 1000,
]


@pytest.mark.parametrize("text", GOOD)
def test_expressions_of_spdx_pass(text: str) -> None:
    assert license_fault(text) is None


@pytest.mark.parametrize("text", BAD)
def test_other_texts_are_told_apart(text: str) -> None:
    said = license_fault(text)
    assert said is not None
    assert "is no SPDX licence, such as Apache-2.0" in said


@given(
    st.recursive(
        st.sampled_from(GOOD[:7]),
        lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda p: f"({' '.join(p)})"),
        max_leaves=8,
    )
)
def test_expressions_join(text: str) -> None:
    assert (license_fault(text) is None) == (len(text) <= 500)
    assert license_fault(text + ")") is not None
    assert license_fault(f"{text} MIT") is not None
