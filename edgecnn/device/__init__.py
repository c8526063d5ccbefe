"""What runs where torch is not: images to inputs, sessions, predictions, checks and timing. numpy, onnxruntime and Pillow only."""
