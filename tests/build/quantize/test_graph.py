from __future__ import annotations

import logging

import onnx
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.build.quantize._graph import in_order, root_log_aside


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30), st.randoms(use_true_random=False))
def test_nodes_come_after_what_they_read_whatever_their_order_was(reads, random):
    nodes = [onnx.helper.make_node("Sum", [f"t{i % n}" for i in inputs] if n else ["x"], [f"t{n}"]) for n, inputs in enumerate(reads)]
    shuffled = random.sample(nodes, len(nodes))
    known = {"x"}
    ordered = in_order(shuffled)
    for node in ordered:
        assert known.issuperset(node.input)
        known.update(node.output)
    assert sorted(node.output[0] for node in ordered) == sorted(node.output[0] for node in nodes)


def test_nodes_in_order_are_left_in_it():
    nodes = [onnx.helper.make_node("Relu", [f"t{n}"], [f"t{n + 1}"]) for n in range(3000)]
    assert in_order(nodes) == nodes


def test_other_peoples_records_still_reach_their_handlers(caplog):
    with caplog.at_level(logging.INFO), root_log_aside():
        logging.getLogger("somebody").info("kept")
        logging.warning("diverted")
    assert [(record.name, record.message) for record in caplog.records] == [("somebody", "kept")]
