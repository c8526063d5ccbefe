"""MNN, one thread, full precision."""

import MNN
import numpy as np
from peer import main


def open_net(file):
    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": 1, "precision": "high"},))
    net = MNN.nn.load_module_from_file(file, ["input"], ["logits"], runtime_manager=manager)

    def feed(x):
        given = MNN.expr.const(np.ascontiguousarray(x), list(x.shape), MNN.expr.NCHW)
        return lambda: np.array(net.forward(given).read())

    return feed


main(open_net)
