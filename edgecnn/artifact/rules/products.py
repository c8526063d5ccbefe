"""Products of matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgecnn.artifact.sizes import Call, Dim, Dims, Fault, broadcast, shown


def _multiplied(a: Dims, b: Dims) -> Dims:
    """As numpy.matmul does."""
    if not a or not b:
        raise Fault("multiplies a number, matrices were wanted")
    left = (1, *a) if len(a) == 1 else a
    right = (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise Fault(f"multiplies {shown(a)} by {shown(b)}, whose inner sizes differ")
    stack = broadcast(left[:-2], right[:-2])
    return (*stack, *(left[-2:-1] if len(a) > 1 else ()), *(right[-1:] if len(b) > 1 else ()))


def _matmul(at: int) -> Callable[[Call], tuple[Dims, ...]]:
    """at: which input is the right factor."""
    return lambda call: (_multiplied(call.shape(0), call.shape(at)),)


def _fused_matmul(call: Call) -> tuple[Dims, ...]:
    """transBatchA: the first axis of A is its last but one."""
    factors = []
    for at, letter in ((0, "A"), (1, "B")):
        shape = call.shape(at)
        if call.integer(f"transBatch{letter}", 0) and len(shape) > 2:
            shape = (*shape[1:-1], shape[0], shape[-1])
        turned = call.integer(f"trans{letter}", 0) and len(shape) > 1
        factors.append((*shape[:-2], shape[-1], shape[-2]) if turned else shape)
    return (_multiplied(*factors),)


def _gemm(at: int, bias: int) -> Callable[[Call], tuple[Dims, ...]]:
    """at, bias: which inputs are the right factor and what is added."""

    def rule(call: Call) -> tuple[Dims, ...]:
        a, b = call.shape(0), call.shape(at)
        if len(a) != 2 or len(b) != 2:
            raise Fault(f"multiplies {shown(a)} by {shown(b)}, two matrices were wanted")
        a, b = (a[::-1] if call.integer("transA", 0) else a), (b[::-1] if call.integer("transB", 0) else b)
        result = _multiplied(a, b)
        if call.has(bias) and broadcast(result, call.shape(bias)) != result:
            raise Fault(f"adds {shown(call.shape(bias))} to {shown(result)}, which it doesn't fit")
        return (result,)

    return rule


def _einsum(call: Call) -> tuple[Dims, ...]:
    """At most two operands: of more, what lies between them could be larger than all of them."""
    equation = call.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms, operands = left.split(","), [call.shape(at) for at in range(len(call.shapes))]
    if len(terms) != len(operands) or len(terms) > 2:
        raise Fault(f"has {len(operands)} operands in the equation {equation[:60]!r}; one or two that match it were wanted")
    sizes: dict[str, Dim] = {}
    stacks: list[Dims] = []
    for term, shape in zip(terms, operands, strict=True):
        stacks.append(_match(term, shape, sizes, equation))
    stack = broadcast(*stacks)
    if not arrow:
        letters = "".join(terms).replace("...", "")
        right = ("..." if "..." in left else "") + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    head, dots, tail = right.partition("...")
    if not _letters(head + tail) or not set(head + tail) <= sizes.keys() or (stack and not dots):
        call.refuse("equation", equation)
    return ((*(sizes[letter] for letter in head), *stack, *(sizes[letter] for letter in tail)),)


def _match(term: str, shape: Dims, sizes: dict[str, Dim], equation: str) -> Dims:
    """Notes the size that each letter of a term stands for; the sizes that its ellipsis does."""
    head, dots, tail = term.partition("...")
    many = len(shape) - len(head) - len(tail)
    if not _letters(head + tail) or many < 0 or (many and not dots):
        raise Fault(f"has the equation {equation[:60]!r}, which doesn't fit an operand of {shown(shape)}")
    ends = zip(head + tail, (*shape[: len(head)], *shape[len(head) + many :]), strict=True)
    for letter, dim in ends:
        if sizes.setdefault(letter, dim) == 1:
            sizes[letter] = dim
        elif dim not in (1, sizes[letter]):
            raise Fault(f"has the equation {equation[:60]!r}, in which {letter} is {shown((sizes[letter], dim))}")
    return shape[len(head) : len(head) + many]


def _letters(text: Iterable[str]) -> bool:
    """Each once, for a diagonal's operands and outputs are more than runtimes agree on."""
    found = [*text]
    return all(letter.isascii() and letter.isalpha() for letter in found) and len(set(found)) == len(found)


ONNX: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    "Einsum": _einsum,
    "Gemm": _gemm(1, 2),
    "MatMul": _matmul(1),
    "MatMulInteger": _matmul(1),
    "QLinearMatMul": _matmul(3),
}
MICROSOFT: dict[str, Callable[[Call], tuple[Dims, ...]]] = {
    "DynamicQuantizeMatMul": _matmul(1),
    "FusedGemm": _gemm(1, 2),
    "FusedMatMul": _fused_matmul,
    "GemmFastGelu": _matmul(1),
    "MatMulIntegerToFloat": _matmul(1),
    "QGemm": _gemm(3, 6),
    "TransposeMatMul": _fused_matmul,
}
