"""Run with a contender's own Python: child.py NAME convert FOLDER PRECISION, or child.py NAME serve FOLDER PRECISION THREADS.

`serve` speaks JSON, a line each. It says {"ready": seconds, "note": text} once loaded, and then answers
{"burst": N} with {"runs": N, "wall_ns": .., "cpu_ns": ..}, {"answers": FILE} with {} once FILE.npy holds the logits of all inputs, and the end of
its input by ending. What goes wrong is {"error": text}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)


def serve(name: str, folder: Path, precision: str, threads: int, lines: Any, say: Any) -> None:
    import numpy as np

    start = time.perf_counter()
    loaded = importlib.import_module(f"runtime_comparison.contenders.{name}").load(folder, precision, threads)
    inputs = np.load(folder / "inputs.npy")
    x = loaded.prepare(inputs[:1])
    loaded.run(x)
    say({"ready": time.perf_counter() - start, "note": loaded.note})
    for line in lines:
        asked = json.loads(line)
        if "burst" in asked:
            run, runs = loaded.run, range(asked["burst"])
            run(x)  # finds the caches full of another's data
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            for _ in runs:
                run(x)
            wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
            say({"runs": len(runs), "wall_ns": wall, "cpu_ns": cpu})
        else:
            # copied, because some give a view of what the next answer overwrites
            answers = [np.array(loaded.finish(loaded.run(loaded.prepare(one[np.newaxis]))), dtype=np.float32).reshape(1, -1) for one in inputs]
            np.save(asked["answers"], np.concatenate(answers))
            say({})


def main() -> None:
    name, what, folder, precision, *rest = sys.argv[1:]
    # runtimes print as they like; what they say goes to standard error
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    try:
        if what == "convert":
            (Path(folder) / name).mkdir(exist_ok=True)
            importlib.import_module(f"runtime_comparison.contenders.{name}").convert(Path(folder), precision)
            say({})
        else:
            serve(name, Path(folder), precision, int(rest[0]), sys.stdin, say)
    except Exception as error:
        import traceback

        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no word'}"})
    out.flush()
    os._exit(0)  # some hang when they are taken down


if __name__ == "__main__":
    main()
