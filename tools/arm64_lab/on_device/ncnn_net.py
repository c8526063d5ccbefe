"""ncnn, one thread."""

import ncnn
import numpy as np
from peer import main


def open_net(param, weights):
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(param) or net.load_model(weights):
        raise SystemExit(f"ncnn doesn't load {param}")

    def feed(x):
        given = ncnn.Mat(np.ascontiguousarray(x[0])).clone()

        def run():
            extractor = net.create_extractor()
            extractor.input("in0", given)
            return extractor.extract("out0")[1]

        return run

    return feed


main(open_net)
