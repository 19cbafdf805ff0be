#!/usr/bin/env python3
"""Writes jpeg_golden.npz: JPEG files, and the pixels that Pillow decodes from them by libjpeg-turbo; the tests of
src/image/jpeg are held to it.

    pip install numpy pillow && python jpeg_golden.py      (pillow 13.0.0)
"""
import io
from pathlib import Path

import numpy as np
from PIL import Image, features

FULL, WIDE, BOTH = "4:4:4", "4:2:2", "4:2:0"


def picture(width, height, seed):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([x * 255 / width, np.where((x // 9 + y // 7) % 2, 255, 0), random.integers(0, 256, x.shape)], -1)
    return Image.fromarray(levels.astype(np.uint8))


def encoded(image, **options):
    held = io.BytesIO()
    image.save(held, "JPEG", **options)
    return held.getvalue()


def turned(file):
    """A file of 4:2:2 with its colours at half the height in place of half the width: its units, of two blocks of
    luma, fill a picture of other sides."""
    file = bytearray(file)
    at = file.index(b"\xff\xc0") + 5
    height, width = int.from_bytes(file[at:at + 2]), int.from_bytes(file[at + 2:at + 4])
    assert height % 8 == 0 and width % 16 == 0
    file[at:at + 2], file[at + 2:at + 4] = (height * 2).to_bytes(2), (width // 2).to_bytes(2)
    assert file[at + 6] == 0x21
    file[at + 6] = 0x12
    return bytes(file)


def main():
    files = {
        "full": encoded(picture(37, 29, 1), subsampling=FULL, quality=90),
        "wide": encoded(picture(37, 29, 2), subsampling=WIDE, quality=75),
        "both": encoded(picture(61, 45, 3), subsampling=BOTH, quality=75),
        "both_low": encoded(picture(33, 35, 4), subsampling=BOTH, quality=5),
        "both_high": encoded(picture(34, 17, 5), subsampling=BOTH, quality=100),
        "tall": turned(encoded(picture(64, 24, 6), subsampling=WIDE, quality=85)),
        "progressive": encoded(picture(45, 50, 7), subsampling=BOTH, quality=80, progressive=True),
        "progressive_full": encoded(picture(20, 20, 8), subsampling=FULL, quality=95, progressive=True),
        "restarts": encoded(picture(70, 40, 9), subsampling=BOTH, quality=70, restart_marker_blocks=3),
        "grey": encoded(picture(23, 31, 10).convert("L"), quality=80),
        "grey_progressive": encoded(picture(23, 31, 11).convert("L"), quality=80, progressive=True),
        "rgb": encoded(picture(23, 19, 12), keep_rgb=True, quality=85),
        "one": encoded(picture(1, 1, 13), subsampling=BOTH),
        "two": encoded(picture(3, 2, 14), subsampling=BOTH),
        "four": encoded(picture(4, 5, 15), subsampling=WIDE),
        "five": encoded(picture(5, 1, 16), subsampling=BOTH),
        "optimised": encoded(picture(40, 40, 17), subsampling=BOTH, quality=60, optimize=True),
    }
    arrays = {}
    for name, file in files.items():
        arrays[f"{name}.file"] = np.frombuffer(file, np.uint8)
        arrays[f"{name}.rgb"] = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    np.savez_compressed(Path(__file__).parent / "jpeg_golden.npz", **arrays)


if __name__ == "__main__":
    assert features.check("libjpeg_turbo")
    main()
