"""The operators that devices run, each with the rule that tells the shapes of its outputs. Whatever has no rule is refused.

The list is what classifiers of images need: convolutions, poolings, attention made of matrix products, and the quantized forms. Left out are loops,
branches, sequences, texts, random numbers, decoders, training, operators of audio and detection, and those whose output's size depends on the data.
A rule takes a `Call` and returns a shape for each output; it raises Fault. Semantics: https://onnx.ai/onnx/operators/ and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md .
"""

from __future__ import annotations

from collections.abc import Callable

from edgecnn.artifact.rules import elementwise, moves, products, windows
from edgecnn.artifact.sizes import Call, Dims

Rule = Callable[[Call], tuple[Dims, ...]]

MICROSOFT = "com.microsoft"

RULES: dict[tuple[str, str], Rule] = {
    (domain, operator): rule
    for module in (elementwise, moves, products, windows)
    for domain, rules in (("", module.ONNX), (MICROSOFT, module.MICROSOFT))
    for operator, rule in rules.items()
}
