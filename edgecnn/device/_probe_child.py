"""The child of probe.py: `python _probe_child.py`, or with the name of a provider that is to be loaded alone.

Each line that it prints is JSON of what was found: {"doing": WORDS} before a step that may kill it, {"failure": WORDS} where one failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # not this folder, whose files would stand before modules of the standard library
    sys.path[0] = str(Path(__file__).parents[2])

_OLDEST, _MOST = 7, 100
"""ONNX's opsets and IR versions that are tried: every onnxruntime that runs on Python 3 knows the first."""


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def newest(loads: Callable[[int], bool]) -> int | None:
    """The last number, counting up, that loads; None where not even the first does."""
    count = _OLDEST
    while count <= _MOST and loads(count):
        count += 1
    return count - 1 if count > _OLDEST else None


def basics() -> None:
    say(doing="numpy was imported")
    import numpy as np

    from edgecnn.device.engines.ort import open_graph, runtime

    say(doing="onnxruntime was imported")
    onnxruntime = runtime()
    say(version=onnxruntime.__version__, listed=onnxruntime.get_available_providers())
    say(doing="onnxruntime loaded a tiny graph")
    from edgecnn.device.tiny_graphs import CHANNELS, SIDE, WANTED, all_products_largest, relu
    from edgecnn.errors import GraphRejected

    def loads(opset: int, ir_version: int) -> bool:
        try:
            open_graph(relu(opset=opset, ir_version=ir_version), threads=1)
        except GraphRejected:
            return False
        return True

    say(opset=newest(lambda number: loads(number, _OLDEST)), ir_version=newest(lambda number: loads(_OLDEST, number)))
    say(doing="onnxruntime ran an int8 convolution")
    x = np.full((1, CHANNELS, SIDE, SIDE), 255, dtype=np.float32)
    modes = {"fast": False, "precise": True}
    found = {mode: open_graph(all_products_largest(), threads=1, precise=precise).run_one(x) for mode, precise in modes.items()}
    say(products={"wanted": float(WANTED), **{mode: float(answer.reshape(())) for mode, answer in found.items()}})


def provider(name: str) -> None:
    from edgecnn.device.engines.ort import open_graph
    from edgecnn.device.tiny_graphs import relu
    from edgecnn.errors import GraphRejected, ProviderMissing

    say(doing=f"{name} was loaded")
    try:
        open_graph(relu(opset=13, ir_version=_OLDEST), threads=1, provider=name)
    except (ProviderMissing, GraphRejected) as error:
        say(provider={"name": name, "loads": False, "why": str(error)[:600]})
    else:
        say(provider={"name": name, "loads": True})


def _failed(error: Exception) -> None:
    from edgecnn.errors import EdgecnnError

    last = (str(error).strip().splitlines() or ["without a word"])[-1][:600]
    if isinstance(error, EdgecnnError):
        say(failure=last, doing="")  # a whole sentence
    else:
        say(failure=f"{type(error).__name__}: {last}", missing=error.name if isinstance(error, ModuleNotFoundError) else None)


def main(arguments: list[str]) -> None:
    import os
    import warnings

    warnings.simplefilter("ignore")
    try:
        provider(arguments[0]) if arguments else basics()
    except Exception as error:  # what an import of a broken installation raises is anything
        _failed(error)
    else:
        say(done=True)
    os._exit(0)  # a provider's own threads aren't taken down in order


if __name__ == "__main__":
    main(sys.argv[1:])
