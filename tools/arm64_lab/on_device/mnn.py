"""MNN, one thread, full precision."""

import MNN
import numpy as np
from peer import main


def open_net(file):
    interpreter = MNN.Interpreter(file)
    session = interpreter.createSession({"numThread": 1, "backend": "CPU", "precision": "high"})
    given, found = interpreter.getSessionInput(session), interpreter.getSessionOutput(session)

    def feed(x):
        x = np.ascontiguousarray(x)
        interpreter.resizeTensor(given, x.shape)
        interpreter.resizeSession(session)
        given.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe))

        shape = found.getShape()
        target = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, dtype=np.float32), MNN.Tensor_DimensionType_Caffe)

        def run():
            interpreter.runSession(session)
            found.copyToHostTensor(target)
            return target.getNumpyData()

        return run

    return feed


main(open_net)
