"""The record of what is active: whatever happens in whatever order, it makes sense and comes back from its JSON."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifact.codec import canonical_json
from edgecnn.store.places import Place
from edgecnn.store.state import State, read_state, write_state

VERSIONS = ("1.0.0", "2.0.0", "3.0.0", "4.0.0")
STEPS = st.lists(st.tuples(st.sampled_from(["install", "activate", "roll back", "remove"]), st.integers(0, 3)), max_size=30)


@given(STEPS)
def test_any_history(steps: list[tuple[str, int]]) -> None:
    state = State()
    for what, number in steps:
        version = VERSIONS[number]
        before = state
        if what == "install" and version != state.active:
            state = state.with_active(version, what="installed")
        elif what == "activate" and version in state.installed and version != state.active:
            state = state.with_active(version, what="activated", downgrade=number == 0)
        elif what == "roll back" and state.previous:
            target = state.previous[number % len(state.previous)]
            state = state.rolled_back(target, "why not")
            assert (state.active, state.set_aside[str(before.active)]) == (target, "why not")
        elif what == "remove" and version in state.installed and version != state.active:
            state = state.without(version)
            assert version not in (*state.installed, *state.previous, *state.set_aside)
        else:
            continue
        assert state.history[-1].before == (None if what == "remove" else before.active)
        assert set(state.previous).isdisjoint(state.set_aside)
        if what in ("install", "activate") and before.active is not None:
            assert state.previous[0] == before.active, "going back leads to where one came from"


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    place = Place(store=tmp_path, name="tiny")
    assert read_state(place) == State()
    state = State().with_active("1.0.0", what="installed").with_active("2.0.0", what="installed", downgrade=True).rolled_back("1.0.0", "Größe 1 \n")
    write_state(place, state)
    assert read_state(place) == state
    assert place.state.read_bytes() == canonical_json(state)
