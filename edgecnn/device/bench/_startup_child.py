"""The child of startup.py: `python _startup_child.py JSON`, what is asked for.

The last line that it prints is JSON of a Startup, or {"failure": TEXT}.
"""

from __future__ import annotations

import time

_BEGUN = time.perf_counter_ns()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if __name__ == "__main__":
    # not this folder, whose files would stand before modules of the standard library
    sys.path[0] = str(Path(__file__).parents[3])

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 20
_SECONDS = 0.3


def measured(asked: dict[str, Any]) -> dict[str, Any]:
    import numpy
    import PIL.Image  # noqa: F401

    import edgecnn.device.golden
    import edgecnn.device.image
    import edgecnn.device.saturation
    import edgecnn.device.session
    import edgecnn.sign  # noqa: F401
    from edgecnn.device.bench.opening import open_file
    from edgecnn.device.engines import engine_module, open_graph
    from edgecnn.device.tiny_graphs import relu

    engine_module(asked["engine"]).runtime()
    imported = time.perf_counter_ns()
    how = {"threads": asked["threads"], "engine": asked["engine"], "provider": asked["provider"]}
    run: Callable[[], object]
    if asked["path"] is None:
        engine, one = open_graph(relu(opset=13, ir_version=7), **how), numpy.ones(1, dtype=numpy.float32)
        loaded = time.perf_counter_ns()

        def run() -> object:
            return engine.run_one(one)
    else:
        shapes = {name: tuple(sizes) for name, sizes in asked["shapes"].items()}
        opened = open_file(Path(asked["path"]), trust_key=asked["trust_key"], shapes=shapes, **how)
        loaded, run = imported + opened.load_ns, opened.run
    before = time.perf_counter_ns()
    run()
    first = time.perf_counter_ns() - before
    found = {
        "python_ms": (_BEGUN - asked["begun"]) / 1e6,
        "import_ms": (imported - _BEGUN) / 1e6,
        "load_ms": (loaded - imported) / 1e6,
        "first_ms": first / 1e6,
        "total_ms": (loaded - asked["begun"] + first) / 1e6,
        "loaded_mib": resident_mib(),
    }
    for _ in range(RUNS):
        run()
    from edgecnn.device.measure import peak_memory_mib

    found["peak_mib"] = peak_memory_mib()
    if asked["path"] is not None and Path(asked["path"]).suffix.lower() != ".onnx":
        found |= preparation(Path(asked["path"]), asked["trust_key"])
    return found


def resident_mib() -> float | None:
    """What this process holds now; None where the system doesn't tell."""
    from edgecnn.device.host import text_of

    fields = text_of(Path("/proc/self/status")).partition("VmRSS:")[2].split()
    return int(fields[0]) / 1024 if fields and fields[0].isdecimal() else None


def preparation(path: Path, trust_key: str | None) -> dict[str, Any]:
    """Decoding and preprocessing of the originals in an artifact, each by itself."""
    from statistics import median

    from edgecnn.device.golden import read_golden
    from edgecnn.device.image import normalize, open_image, to_uint8
    from edgecnn.sign import open_trusted

    with open_trusted(path, trust_key) as bundle:
        pre, originals = bundle.manifest.spec.preprocess, read_golden(bundle).originals
    decodes: list[int] = []
    rest: list[int] = []
    sizes: set[str] = set()
    until = time.perf_counter() + _SECONDS
    while len(decodes) < 3 * len(originals) or time.perf_counter() < until:
        for _, data in originals:
            start = time.perf_counter_ns()
            image = open_image(data)
            decoded = time.perf_counter_ns()
            normalize(to_uint8(image, pre), pre)
            rest.append(time.perf_counter_ns() - decoded)
            decodes.append(decoded - start)
            sizes.add(f"{image.width}x{image.height}")
    return {
        "decode_ms": median(decodes) / 1e6,
        "preprocess_ms": median(rest) / 1e6,
        "images": len(originals),
        "original": sizes.pop() if len(sizes) == 1 else "several sizes",
    }


def main(asked: str) -> None:
    import os

    from edgecnn.errors import EdgecnnError

    try:
        found = measured(json.loads(asked))
    except EdgecnnError as error:
        found = {"failure": str(error)[:600]}
    except Exception as error:
        found = {"failure": f"{type(error).__name__}: {error}"[:600]}
    print(json.dumps(found), flush=True)
    os._exit(0)  # what a runtime started isn't taken down in order


if __name__ == "__main__":
    main(sys.argv[1])
