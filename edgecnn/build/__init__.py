"""From a network to an artifact: export, simplify, quantize, prove, pack. `pipeline.py` alone knows the order.

Torch is imported only for networks in torch: an .onnx goes the whole way without it.
"""
