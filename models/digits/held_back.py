#!/usr/bin/env python3
"""Writes the 360 pictures that digits.onnx was not trained on as a labelled folder: FOLDER/LABEL/INDEX.png.

    pip install scikit-learn pillow && python held_back.py FOLDER
    sardonyx eval digits.onnx FOLDER

They are drawn and enlarged to 64x64 as in train.py: the same data, split and seed, without torch.
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 7


def main():
    folder = Path(sys.argv[1])
    data = load_digits()
    _, held_back = train_test_split(np.arange(len(data.target)), test_size=0.2, stratify=data.target, random_state=SEED)
    for index in held_back:
        target = folder / str(data.target[index])
        target.mkdir(parents=True, exist_ok=True)
        levels = np.rint(data.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC).save(target / f"{index:04}.png", optimize=True)
    print(f"{len(held_back)} pictures in {folder}")


if __name__ == "__main__":
    main()
