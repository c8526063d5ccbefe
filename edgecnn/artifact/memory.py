"""How much memory a graph's activations take when onnxruntime runs it, told before anything runs.

`liveness` says which tensors live when. onnxruntime takes more than that, by what its sources do on a CPU (https://github.com/microsoft/onnxruntime):

- onnxruntime/core/framework/bfc_arena.cc: buffers come from an arena. A chunk that is less than twice too large is given away whole, and where
  none fits, a region of the next power of two is added, from 1 MiB on. Nothing goes back, so holes stay; what was never written to costs nothing.
- onnxruntime/core/framework/mem_pattern_planner.h: the first inference takes a buffer for each tensor, every later one a single block for all of
  them, beside what the first one left.
- onnxruntime/core/providers/cpu/quantization/qlinearconv.cc and onnxruntime/core/mlas/lib/convsym.cpp: a convolution of integers takes either a
  table of 8-byte pointers, one for each element of the window and place of the result, or int32 results and the unrolled windows.

The input and the result are held beside that, by edgecnn's engine. Convolutions of floats need nothing more: they run in blocks of channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgecnn.artifact.liveness import Liveness, Turn, liveness
from edgecnn.artifact.model_proto import Graph, Node
from edgecnn.artifact.sizes import coefficient

_ALIGNMENT = 256
_FIRST_REGION = 1 << 20
_POINTER = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes, for one image where the batch is open. activations: what inferences add to an open session; alive: the tensors alone, at the step
    `at` where most of them live."""

    activations: int
    alive: int
    at: str


def memory(graph: Graph) -> Memory:
    """Raises GraphRejected as `liveness` does."""
    found = liveness(graph)
    arena = Arena()
    block = _first_inference(found, arena)
    # the second one: all tensors in one block, and what kernels take for a while
    arena.take(block)
    for turn in found.turns:
        _for_a_while(turn, arena)
    outside = sum(found.given.values()) + sum(found.results.values())
    return Memory(activations=arena.touched + outside, alive=found.peak.bytes, at=found.peak.name)


def _first_inference(found: Liveness, arena: Arena) -> int:
    """Takes and gives back every tensor; the most bytes that were taken at once."""
    outside = {*found.given, *found.results}
    taken: dict[str, tuple[int, int]] = {}  # by tensor: where it lies, and its bytes
    alive = most = 0
    for turn in found.turns:
        for name, size in turn.made.items():
            if name not in outside:
                taken[name] = arena.take(size), size
                alive += size
        most = max(most, alive)
        _for_a_while(turn, arena)
        for name in turn.ended:
            if name in taken:
                place, size = taken.pop(name)
                arena.give_back(place)
                alive -= size
    return most


def _for_a_while(turn: Turn, arena: Arena) -> None:
    for place in [arena.take(size) for size in workspace(turn)]:
        arena.give_back(place)


def workspace(turn: Turn) -> Iterator[int]:
    """Bytes of each buffer that a convolution of integers takes for itself, as on x86; on Arm more of them take int32 results."""
    if not turn.integers:
        return
    outputs, inputs, *window = (coefficient((dim,)) for dim in turn.shapes[turn.node.inputs[1]])
    places = coefficient(turn.shapes[turn.node.outputs[0]][2:])
    strides, pads = _numbers(turn.node, "strides"), _numbers(turn.node, "pads")
    group = turn.node.attributes.get("group", 1)
    depthwise = group == outputs and inputs == 1 and outputs > 1
    direct = math.prod(window) == 1 and not any(pads) and all(stride == 1 for stride in strides)
    packed = outputs % 16 == 0 if depthwise else group == 1 and outputs >= 16 and inputs % 4 == 0 and outputs % 8 == 0
    if not packed:
        yield 4 * outputs * places
    if depthwise or (packed and not direct):
        yield _POINTER * math.prod(window) * places
    elif not direct:
        yield inputs * math.prod(window) * places


def _numbers(node: Node, name: str) -> tuple[object, ...]:
    value = node.attributes.get(name)
    return value if isinstance(value, tuple) else ()


class Arena:
    """onnxruntime's, with its places as one row of addresses. touched: bytes that were ever handed out, which is what they cost."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []  # (address, size)
        self._taken: dict[int, int] = {}
        self._next_region, self._end = _FIRST_REGION, 0
        self._touched: list[tuple[int, int]] = []

    @property
    def touched(self) -> int:
        total = end = 0
        for start, stop in sorted(self._touched):
            total += max(0, stop - max(start, end))
            end = max(end, stop)
        return total

    def take(self, size: int) -> int:
        """The address of a place for `size` bytes."""
        size = max(1, -(-size // _ALIGNMENT)) * _ALIGNMENT
        fitting = [(free, address) for address, free in self._free if free >= size]
        if not fitting:
            fitting = [self._grow(size)]
        free, address = min(fitting)
        self._free.remove((address, free))
        if free >= 2 * size:
            self._free.append((address + size, free - size))
            free = size
        self._taken[address] = free
        self._touched.append((address, address + size))
        return address

    def give_back(self, address: int) -> None:
        """A place that was taken, which grows together with the free ones beside it."""
        start, size = address, self._taken.pop(address)
        for other, length in list(self._free):
            if other + length == start or start + size == other:
                self._free.remove((other, length))
                start, size = min(start, other), size + length
        self._free.append((start, size))

    def _grow(self, size: int) -> tuple[int, int]:
        region = self._next_region
        while region < size:
            region *= 2
        self._next_region = region if region > self._next_region else 2 * region
        self._free.append((self._end, region))
        found = region, self._end
        self._end += region + _ALIGNMENT  # regions don't touch, so their places never grow together
        return found
