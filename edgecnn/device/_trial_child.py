"""The child of trial.py: `python _trial_child.py PATH`.

The last line that it prints is its verdict: {"passed": SHA256}, {"memory": true} or {"failure": TEXT}.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

if __name__ == "__main__":
    # not this folder, whose files would stand before modules of the standard library
    sys.path[0] = str(Path(__file__).parents[2])


def verdict(path: Path) -> dict[str, object]:
    """What came of loading the model at `path` and asking it for its golden answers."""
    from edgecnn.device.saturation import precise_for
    from edgecnn.device.session import open_session
    from edgecnn.device.validate import check_golden
    from edgecnn.errors import EdgecnnError
    from edgecnn.sign import open_trusted

    try:
        with open_trusted(path, None) as bundle:
            manifest = bundle.manifest
            session = open_session(bundle.read("model.onnx"), manifest.spec, threads=1, precise=precise_for(bundle))
            report = check_golden(bundle, session=session)
    except MemoryError:
        return {"memory": True}
    except EdgecnnError as error:
        return {"memory": True} if _starved(str(error)) else {"failure": str(error)}
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}"}
    short = next((step for step in report.steps if not step.passed), None)
    if short is not None:
        return {"failure": f"it falls short in the step {short.name}: {short.message}"}
    return {"passed": manifest.member("model.onnx").sha256}


def _starved(text: str) -> bool:
    """Whether onnxruntime says that an allocation failed: it has no error of its own for that."""
    return any(words in text for words in ("bad_alloc", "bad allocation", "Failed to allocate memory"))


def _yield_to_the_rest() -> None:
    """Where the machine itself runs out of memory, this process goes first."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(path: str) -> None:
    import json
    import os

    _yield_to_the_rest()
    found = verdict(Path(path))
    print(json.dumps({key: value[:2000] if isinstance(value, str) else value for key, value in found.items()}), flush=True)
    os._exit(0)  # what a hostile model left behind isn't taken down in order


if __name__ == "__main__":
    main(sys.argv[1])
