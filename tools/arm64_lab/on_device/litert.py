"""LiteRT with its default delegate, XNNPACK, one thread."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from peer import main


def open_net(file):
    interpreter = Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()

    def quantized(x, details):
        scale, zero = details["quantization"]
        return np.clip(np.round(x / scale + zero), -128, 127).astype(np.int8) if scale else x.astype(np.float32)

    def feed(x):
        value = np.ascontiguousarray(quantized(x.transpose(0, 2, 3, 1), given))

        def run():
            interpreter.set_tensor(given["index"], value)
            interpreter.invoke()
            logits = interpreter.get_tensor(found["index"])
            scale, zero = found["quantization"]
            return (logits.astype(np.float32) - zero) * scale if scale else logits

        return run

    return feed


main(open_net)
