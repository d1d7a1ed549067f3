"""Pillow's bicubic resize and the scorers' whole preprocessing by hash, and the shared pictures through Pillow's and torchvision's resize.

Pixels are drawn by hashing their number (as in `weights.py`), so that nothing but results is stored. The shared pictures need the shared data
(`../shared/data` from the repository, or the folder named by `REFL_DATA`); without it their rows of the committed file are kept.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.functional import resize, to_tensor

from .store import folder, versions

DATA = Path(os.environ.get("REFL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 1, "1": 1}
# ((width, height), (width, height))
RESIZES = (
    ((13, 11), (5, 7)),
    ((5, 6), (13, 9)),
    ((31, 7), (31, 20)),
    ((64, 33), (17, 33)),
    ((1, 1), (3, 2)),
    ((100, 3), (10, 10)),
    ((2, 200), (3, 7)),
    ((97, 61), (96, 62)),
    ((40, 90), (20, 50)),
    ((40, 90), (20, 49)),
)
# (width, height), size
SQUARES = (((225, 224), 224), ((341, 224), 224), ((300, 512), 224), ((67, 41), 32), ((20, 33), 32), ((224, 301), 224))


def pixels(count):
    """Byte i is the top of the hash of i: noise with every value."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return (x >> np.uint32(24)).astype(np.uint8)


def picture(mode, size):
    """A picture of noise; a palette of noise; black and white by the top bit."""
    width, height = size
    data = pixels(width * height * CHANNELS[mode])
    if mode == "1":
        return Image.frombytes("L", size, np.where(data > 127, 255, 0).astype(np.uint8).tobytes()).convert("1")
    image = Image.frombytes(mode, size, data.tobytes())
    if mode == "P":
        image.putpalette(pixels(768).tobytes())
    return image


def fnv(data):
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def horizontal_first(image, size):
    """The order of passes that every Pillow before 13 has."""
    return image.resize((size[0], image.size[1]), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BICUBIC)


def content(image):
    """Bytes as the TypeScript side holds them: palette colours as RGB, black and white as bytes."""
    return image.convert({"P": "RGB", "1": "L"}.get(image.mode, image.mode)).tobytes()


def square(size):
    return Compose([Resize(size, interpolation=InterpolationMode.BICUBIC), CenterCrop(size), lambda image: image.convert("RGB")])


def statistics(values):
    return [float(f"{x:.9g}") for x in (values.mean(), values.min(), values.max())]


def shared_picture(path):
    image = Image.open(path)
    fitted = square(224)(image)
    array = np.asarray(fitted)
    tensor = to_tensor(image.convert("RGB")).double()
    interpolation = InterpolationMode.BICUBIC
    return {
        "size": image.size,
        "sum": int(array.sum()),
        "hash": fnv(fitted.tobytes()),
        "corner": array[0, 0].tolist(),
        "inner": array[100, 57].tolist(),
        "plain": statistics(resize(tensor, [224], interpolation, antialias=False)),
        "antialias": statistics(resize(tensor, [224], interpolation, antialias=True)),
    }


def preprocess():
    target = folder("models") / "preprocess.json"
    resizes = [
        {"mode": mode, "from": a, "to": b, "hash": fnv(content(picture(mode, a).resize(b, Image.Resampling.BICUBIC)))}
        for mode in CHANNELS
        for a, b in RESIZES
    ]
    before = [
        {"mode": mode, "from": a, "to": b, "hash": fnv(content(horizontal_first(picture(mode, a), b)))}
        for mode in ("L", "RGB")
        for a, b in RESIZES
    ]
    squares = [
        {"mode": mode, "from": a, "size": size, "hash": fnv(square(size)(picture(mode, a)).tobytes())}
        for mode in CHANNELS
        for a, size in SQUARES
    ]
    if DATA.is_dir():
        images = {f"{i}.webp": shared_picture(DATA / f"imagereward/images/{i}.webp") for i in (1, 2, 3, 4)}
    else:
        images = json.loads(target.read_text())["images"]
        print(f"no shared data at {DATA}: its pictures stay as they are")
    head = {"versions": {**versions(), "pillow": Image.__version__}, "images": images}
    rows = {key: ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in value) for key, value in (("resizes", resizes), ("before", before), ("squares", squares))}
    body = ",\n".join(f'"{key}": [\n{text}\n]' for key, text in rows.items())
    target.write_text(json.dumps(head)[:-1] + f",\n{body}\n}}\n")


CASES = {"preprocess": preprocess}
