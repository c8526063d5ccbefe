"""A helper of `edgecnn run`: `python -I _answers_child.py PATHS ENGINE`, see edgecnn/device/side_by_side.py for what it is told and says."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # before any other import: this folder's files would stand before modules of the standard library
    sys.path[:] = sys.argv.pop(1).split("\n")

import gc
import os
import pickle
import signal


def main(engine: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    gc.disable()  # nothing of the start-up is garbage
    from multiprocessing.connection import Connection

    from edgecnn.cli._answers import Setup, answer, manifest_digest
    from edgecnn.device.engines import engine_module
    from edgecnn.device.model import open_model

    if engine != "auto":
        engine_module(engine).runtime()
    pipe = Connection(os.dup(0))
    setup: Setup = pickle.loads(pipe.recv_bytes())
    model = open_model(setup.path, threads=1, trust_key=setup.trust_key, engine=setup.engine)
    if (manifest_digest(model), model.session.engine.provider) != (setup.manifest, setup.provider):
        return  # another file by now
    gc.freeze()
    gc.enable()
    pipe.send(None)
    while True:
        found = answer(model, setup.lines, pickle.loads(pipe.recv_bytes()))
        pipe.send_bytes(pickle.dumps([line if isinstance(line, str) else None for line in found], pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        os._exit(0)  # whoever reads has what it wanted, or goes on alone
