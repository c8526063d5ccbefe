"""What a stage does and what happens to the shape, in plain words with this stage's own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgecnn.report.explain.stages import Stage, slides
from edgecnn.report.formulas import Array
from edgecnn.report.formulas.windows import Window

Values = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """title: what the stage is; lines: sentences, the first on what it does; shape: "1 x 28 x 28 -> 32 x 26 x 26", "" where nothing changes it."""

    title: str
    lines: tuple[str, ...]
    shape: str


def describe(stage: Stage, values: Values, *, rounds_pixels: bool = False) -> Words:
    """values: the trace that the stage is seen in. rounds_pixels: it rounds the graph's input."""
    shapes = [shape_of(values[name]) for name in stage.sources]
    after = shape_of(values[stage.shown])
    title, lines = _TELLERS.get(stage.role, _other)(stage, values)
    if stage.role == "rounding" and rounds_pixels:
        title, lines = _input_rounding(stage)
    kept = [line for line in (*lines, _rounded(stage, values)) if line]
    return Words(title=title, lines=tuple(kept), shape=after if not shapes else f"{shapes[0]} → {after}")


def say(value: float, digits: int = 3) -> str:
    """A number as people write it: −0.0123, 1.9 · 10⁻⁶."""
    text, _, exponent = f"{value:.{digits}g}".partition("e")
    power = f" · 10{str(int(exponent)).translate(_RAISED)}" if exponent else ""
    return text.replace("-", "−") + power


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def shape_of(array: Array) -> str:
    """Of one input: "16 × 32 × 32", without the batch and without trailing ones."""
    sizes = list(array.shape[1:]) if array.ndim > 1 else list(array.shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return "\u00a0×\u00a0".join(map(str, sizes)) or "1"


def _picture(array: Array) -> tuple[int, ...]:
    return tuple(int(size) for size in array.shape[2:])


def _by(sizes: tuple[int, ...]) -> str:
    return "\u00a0×\u00a0".join(map(str, sizes))


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# Convolutions


def _conv(stage: Stage, values: Values) -> tuple[str, list[str]]:
    x = values[stage.sources[0]]
    if stage.weight is None or stage.node is None:
        return "Convolution", ["The weights of this convolution are themselves computed from the image."]
    weight = values[stage.weight]
    filters, inner, kernel = len(weight), weight.shape[1], tuple(map(int, weight.shape[2:]))
    channels, groups = x.shape[1], int(stage.node.attributes.get("group", 1))
    size, each = _by(kernel), inner * int(np.prod(kernel))
    bias = " and adds its bias" if stage.bias else ""
    learnt = weight.size + (values[stage.bias].size if stage.bias else 0)
    numbers = f"{_count(learnt, 'learnt number')} in all."
    if groups == channels and groups > 1:
        title = f"Depthwise convolution {size}, {_count(channels, 'channel')}"
        does = f"Each of the {channels} channels has a filter of its own: a pixel is the sum of {each} products within that channel{bias}. {numbers}"
    elif groups > 1:
        title = f"Convolution {size} in {groups} groups, {_count(filters, 'filter')}"
        does = f"Each of the {filters} filters sees {inner} of the {channels} channels: a pixel is the sum of {each} products{bias}. {numbers}"
    elif all(side == 1 for side in kernel):
        title = f"Convolution {size}, {_count(filters, 'filter')}"
        does = (
            f"Each of the {filters} filters looks at one pixel at a time, through all {channels} channels: {_count(each, 'product')}{bias}. {numbers}"
        )
    else:
        title = f"Convolution {size}, {_count(filters, 'filter')}"
        through = f"{size} cells × {_count(channels, 'channel')} = {_count(each, 'product')}"
        does = f"Each of the {filters} filters slides over the picture; at each place it sums {through}{bias}. {numbers}"
    found = slides(stage, values)
    return title, [does, *(_sliding(found, _picture(x)) if found is not None else ())]


def _sliding(found: Window, image: tuple[int, ...]) -> Iterator[str]:
    """What the window does to the size."""
    size, places, reach = _by(found.kernel), found.places, found.reach
    if reach != found.kernel:
        yield f"Its cells stand {_by(found.dilations)} pixels apart (dilation), so the {size} window spans {_by(reach)}."
    bare = not any(found.heads) and not any(found.tails)
    if set(reach) == {1} and set(found.strides) == {1} and bare:
        yield f"The size stays {_by(image)}."
        return
    border = "without padding it must lie inside the picture" if bare else f"{_border(found)} is laid around the picture"
    moves = "" if set(found.strides) == {1} else f", and it moves {_steps(found.strides)} at a time"
    change = f"stays {_by(places)}" if places == image else f"becomes {_by(places)}"
    yield f"The window spans {_by(reach)}; {border}{moves}: {_by(image)} {change} ({_sum(found, image)})."


def _steps(strides: tuple[int, ...]) -> str:
    return f"{strides[0]} pixels" if len(set(strides)) == 1 else f"{_by(strides)} pixels"


def _border(found: Window) -> str:
    around = set(found.heads) | set(found.tails)
    if len(around) == 1:
        return f"a border of {_count(around.pop(), 'zero')} (padding)"
    if len(set(found.heads)) == len(set(found.tails)) == 1:
        return f"padding of zeros ({found.heads[0]} above and left, {found.tails[0]} below and right)"
    return f"padding of zeros ({_by(found.heads)} above and left, {_by(found.tails)} below and right)"


def _sum(found: Window, image: tuple[int, ...]) -> str:
    """The size's formula with the first axis's numbers: (28 + 2 - 3) / 1 + 1 = 28."""
    head, tail, stride = found.heads[0], found.tails[0], found.strides[0]
    padded = f"{image[0]} + {head + tail}" if head + tail else f"{image[0]}"
    room = image[0] + head + tail - found.reach[0]
    if stride == 1:
        return f"{padded} − {found.reach[0]} + 1 = {found.places[0]}"
    exact = room % stride == 0
    divided = f"({padded} − {found.reach[0]}) / {stride}"
    how = divided if exact else f"⌊{divided}⌋" if room // stride + 1 == found.places[0] else f"⌈{divided}⌉"
    return f"{how} + 1 = {found.places[0]}"


# Pooling


def _maxpool(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return _pooled(
        stage,
        values,
        "Max pooling",
        "keeps only the largest value of each {size} window: where something was found matters less, that it was found stays",
    )


def _avgpool(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return _pooled(stage, values, "Average pooling", "takes the mean of each {size} window")


def _pooled(stage: Stage, values: Values, title: str, does: str) -> tuple[str, list[str]]:
    found = slides(stage, values)
    if found is None:
        return title, [f"It {does.format(size='')}.".replace("  ", " ")]
    size, image = _by(found.kernel), _picture(values[stage.sources[0]])
    lines = [f"It {does.format(size=size)}. Nothing is learnt here."]
    plain = found.reach == found.strides and not any(found.heads) and not any(found.tails)
    if not plain:
        lines += list(_sliding(found, image))
        return f"{title} {size}", lines
    left = [side - count * step for side, count, step in zip(image, found.places, found.strides, strict=True)]
    halves = "halves to" if set(found.strides) == {2} and not any(left) else "becomes"
    lost = " The last row and column fill no window and are left out." if all(part > 0 for part in left) else ""
    lines.append(f"The windows stand side by side: {_by(image)} {halves} {_by(found.places)}.{lost}")
    return f"{title} {size}", lines


def _gap(stage: Stage, values: Values) -> tuple[str, list[str]]:
    x = values[stage.sources[0]]
    pixels = int(np.prod(x.shape[2:]))
    does = f"Each map of {_by(_picture(x))} becomes one number, the mean of its {pixels:,} pixels: how much of it there is, no longer where."
    return "Global average pooling", [does]


# Number by number


def _share(mask: Array) -> str:
    """How many of an array's numbers, in words."""
    share = 100 * float(np.mean(mask))
    if share in (0, 100):
        return "none" if share == 0 else "all"
    return f"{share:.0f} %" if 1 <= share <= 99 else "fewer than 1 %" if share < 1 else "more than 99 %"


def _silent(after: Array) -> str:
    """Maps in which nothing is left, of (1, channels, height, width)."""
    if after.ndim != 4 or after.shape[2] * after.shape[3] == 1:
        return ""
    empty = int(np.sum(~after[0].any(axis=(1, 2))))
    return f"Of {_count(after.shape[1], 'map')} {empty} {'is' if empty == 1 else 'are'} 0 everywhere for this image." if empty else ""


def _relu(stage: Stage, values: Values) -> tuple[str, list[str]]:
    after = values[stage.raw][:1]
    does = f"max(x, 0): what is negative becomes 0. Of the {after.size:,} numbers {_share(after == 0)} are 0 now; the shape stays."
    return "ReLU", [f"{does} Without such a bend all layers together would be one linear map.", _silent(after)]


def _clip(stage: Stage, values: Values) -> tuple[str, list[str]]:
    low, high = clip_ends(stage, values)
    if low == 0 and np.isfinite(high):
        return f"ReLU{high:g}", [
            f"What is below 0 becomes 0, what is above {high:g} becomes {high:g}. The shape stays.",
            _silent(values[stage.raw][:1]),
        ]
    return "Clip", [f"What is below {low:g} becomes {low:g}, what is above {high:g} becomes {high:g}. The shape stays."]


def clip_ends(stage: Stage, values: Values) -> tuple[float, float]:
    """A Clip's min and max, infinite where it has none."""
    names = (*(stage.node.inputs if stage.node else ()), "", "", "")
    low, high = (values[name].reshape(()).item() if name else None for name in names[1:3])
    return (-np.inf if low is None else float(low)), (np.inf if high is None else float(high))


def _add(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return _two(stage, values, "Addition", "adds", "a + b", "a shortcut around the layers between, which only have to learn what to change")


def _mul(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return _two(stage, values, "Multiplication", "multiplies", "a · b", "one part of the network decides how much of the other goes on")


def _two(stage: Stage, values: Values, title: str, does: str, form: str, why: str) -> tuple[str, list[str]]:
    fixed = [values[name] for name in stage.sources if values[name].size < values[stage.raw].size or values[name].ndim < values[stage.raw].ndim]
    if fixed:
        return title, [f"It {does} {_count(fixed[0].size, 'fixed number')} to what came before, {form}. The shape stays."]
    return title, [f"It {does} two results of earlier layers number by number, {form}: {why}. The shape stays."]


def _batchnorm(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return "Batch normalization", [
        "(x − mean) / √(variance + ε) · scale + bias, with four numbers for each channel that were found in training. The shape stays."
    ]


# Rows of numbers


def _flatten(stage: Stage, values: Values) -> tuple[str, list[str]]:
    x, y = values[stage.sources[0]], values[stage.raw]
    if y.ndim == 2 and x.ndim == 4:
        maps = f"{_count(x.shape[1], 'map')} of {_by(_picture(x))}"
        what = f"All {maps} are written in one row: {_by(tuple(map(int, x.shape[1:])))} = {y.shape[1]:,} numbers. None of them changes."
        return "Flatten", [what]
    return "Another shape", ["The same numbers in another shape; none of them changes."]


def _linear(stage: Stage, values: Values) -> tuple[str, list[str]]:
    inputs, outputs = values[stage.sources[0]].shape[-1], values[stage.raw].shape[-1]
    bias = f" + {outputs:,} biases" if stage.bias else ""
    return f"Fully connected layer, {_count(outputs, 'output')}", [
        f"Each of the {outputs:,} outputs weighs all {inputs:,} inputs and sums them: {inputs:,} × {outputs:,} weights{bias} = "
        f"{inputs * outputs + (outputs if stage.bias else 0):,} learnt numbers."
    ]


def _softmax(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return "Softmax", ["eˣ / the sum of all eˣ: numbers between 0 and 1 that sum to 1."]


# Integers


def _input(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return "The input", [
        f"What preprocessing made: {_count(values[stage.shown].shape[1], 'channel')} of {_by(_picture(values[stage.shown]))} numbers."
    ]


def _input_rounding(stage: Stage) -> tuple[str, list[str]]:
    rounding = stage.rounding
    assert rounding is not None
    steps = rounding.high - rounding.low + 1
    return f"Rounding to {rounding.dtype}", [
        f"This network computes with integers: each input becomes one of {steps:,} steps of {say(rounding.scale)}."
    ]


def _dequantize(stage: Stage, values: Values) -> tuple[str, list[str]]:
    return "From integers to real numbers", ["(integer − zero point) · scale, with a scale for all or one for each channel. The shape stays."]


def _rounding(stage: Stage, values: Values) -> tuple[str, list[str]]:
    rounding = stage.rounding
    assert rounding is not None
    high = rounding.range[1]
    raw = values[stage.raw][:1]
    steps = f"Its {rounding.high - rounding.low + 1:,} steps of {say(rounding.scale)} go from 0 to {say(high)}"
    does = f"{steps}: what is negative becomes 0 ({_share(raw < rounding.scale / 2)} of them), and what is above {say(high)} becomes that"
    return f"Rounding to {rounding.dtype}, which does the ReLU", [
        f"{does} ({_share(raw > high)} of them). The shape stays.",
        _silent(values[rounding.tensor][:1]),
    ]


def _rounded(stage: Stage, values: Values) -> str:
    """Of a stage whose result goes on rounded."""
    rounding = stage.rounding
    if rounding is None or stage.role == "rounding":
        return ""
    step = say(rounding.scale)
    if np.array_equal(values[stage.raw], values[rounding.tensor]):
        moved = stage.role in ("flatten", "maxpool")
        return "" if moved else f"The result lies on steps of {step} already, so {rounding.dtype} holds it exactly."
    low, high = rounding.range
    steps = f"one of {rounding.high - rounding.low + 1:,} steps of {step}"
    return f"Then each number is rounded to {rounding.dtype}: {steps}, from {say(low)} to {say(high)}."


def _other(stage: Stage, values: Values) -> tuple[str, list[str]]:
    known = {
        "Concat": "It puts several results one behind the other.",
        "Pad": "It puts more numbers around the picture.",
        "QuantizeLinear": "From real numbers to integers: round(x / scale) + zero point.",
        "ReduceLogSumExp": "log of the sum of eˣ: one logit for a group, so that its probability is the sum of the group's.",
        "Sigmoid": "1 / (1 + e⁻ˣ): a number between 0 and 1.",
        "Split": "It cuts the numbers into parts.",
    }
    operator = stage.operator
    return operator, [known.get(operator, "An operator that this page has no picture of; below is what comes out of it.")]


_TELLERS = {
    "add": _add,
    "avgpool": _avgpool,
    "batchnorm": _batchnorm,
    "clip": _clip,
    "conv": _conv,
    "dequantize": _dequantize,
    "flatten": _flatten,
    "gap": _gap,
    "input": _input,
    "linear": _linear,
    "maxpool": _maxpool,
    "mul": _mul,
    "relu": _relu,
    "rounding": _rounding,
    "softmax": _softmax,
}
