"""What artifacts answer on the machine that this runs on, a line of JSON for each: python answers.py ARTIFACT IMAGE... [-- ARTIFACT IMAGE...]

inputs: sha256 of what preprocessing made of the images; logits: float32 (images, labels), as float64 so that JSON keeps every bit.
"""

import hashlib
import itertools
import json
import sys

import numpy as np

from edgecnn.device.image import normalize, open_image, to_uint8
from edgecnn.device.model import open_model

for last, words in itertools.groupby(sys.argv[1:], lambda word: word == "--"):
    if last:
        continue
    artifact, *images = words
    model = open_model(artifact, threads=1)
    pre = model.spec.preprocess
    x = np.stack([normalize(to_uint8(open_image(image), pre), pre) for image in images])
    logits = np.concatenate([model.logits(x[i : i + 1]) for i in range(len(x))])
    found = {"artifact": artifact, "images": len(x), "inputs": hashlib.sha256(x.tobytes()).hexdigest(), "logits": logits.astype(float).tolist()}
    print(json.dumps(found, allow_nan=False), flush=True)
