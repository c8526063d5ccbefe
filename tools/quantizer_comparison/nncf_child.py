"""Run with nncf's own Python: nncf_child.py FLOAT32.onnx INPUTS.npy INT8.onnx. Post-training quantization with nncf's defaults."""

import sys

import nncf
import numpy as np
import onnx

source, images, target = sys.argv[1:]
model = onnx.load(source)
name = model.graph.input[0].name
dataset = nncf.Dataset(list(np.load(images)), lambda x: {name: x[np.newaxis]})
onnx.save(nncf.quantize(model, dataset), target)
