"""A helper for test_side_by_side.py: `python -I helper_child.py PATHS KIND`; see edgecnn/device/side_by_side.py for what it is told and says."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import time
from multiprocessing.connection import Connection


def main(kind: str) -> None:
    pipe = Connection(os.dup(0))
    setup = pickle.loads(pipe.recv_bytes())
    if kind == "dead":
        return
    if kind == "never ready":
        time.sleep(600)
    pipe.send(None)
    for served in range(1_000_000):
        items = pickle.loads(pipe.recv_bytes())
        if kind == "dies" and served == 3:
            return
        if kind == "stuck":
            time.sleep(600)
        if kind == "cut short":
            os.write(0, struct.pack("!i", 1000) + b"half")
            time.sleep(600)
        if kind == "leaves some":
            pipe.send([None if item % 3 else (item * setup, os.getpid()) for item in items])
        else:
            pipe.send([(item * setup, os.getpid()) for item in items])


if __name__ == "__main__":
    main(sys.argv[2])
    os._exit(0)
