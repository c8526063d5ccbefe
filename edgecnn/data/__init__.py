"""Collections of images: one format a file, found by looking at the folder. numpy and Pillow only; nothing is decoded here.

A format is a module with `matches(path) -> bool` and `read(path) -> Collection`. Training, calibration, validation and the device
read images through `edgecnn.data.collection` alone.
"""
