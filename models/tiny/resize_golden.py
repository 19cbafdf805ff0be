#!/usr/bin/env python3
"""Writes resize_golden.npz: a picture, and what Pillow and torchvision make of it; src/image's tests are held to it.

    pip install numpy pillow torch torchvision && python resize_golden.py      (pillow 13.0.0, torchvision 0.29.2)
"""
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

WIDTH, HEIGHT = 47, 34
SIZES = [(8, 8), (47, 9), (23, 34), (53, 41), (13, 50), (1, 1)]
FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def main():
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    # Ramps, a hard edge that cubic filters overshoot at, and noise.
    picture = np.stack([x * 255 / WIDTH, np.where((x // 9 + y // 7) % 2, 255, 0), random.integers(0, 256, x.shape)], -1).astype(np.uint8)
    image = Image.fromarray(picture)
    arrays = {"picture": picture, "gray": np.asarray(image.convert("L"))}
    for name, filter in FILTERS.items():
        for width, height in SIZES:
            arrays[f"{name}_{width}x{height}"] = np.asarray(image.resize((width, height), filter))
    # The ImageNet pipeline as torchvision documents it, for a model of 28x28: 256 of 224 is 32 of 28.
    imagenet = transforms.Compose([
        transforms.Resize(32), transforms.CenterCrop(28), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    arrays["imagenet_28"] = imagenet(image).unsqueeze(0).numpy()
    np.savez(Path(__file__).parent / "resize_golden.npz", **arrays)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
