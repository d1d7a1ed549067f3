"""Bicubic and bilinear resampling, with and without anti-aliasing, down, up and mixed, align_corners false."""

import torch.nn.functional as F

from .store import generator, normal, record

PACKAGE = "autograd"

SIZES = {
    "down": ((2, 3, 13, 11), (5, 7)),
    "up": ((1, 2, 5, 6), (13, 9)),
    "mixed": ((1, 2, 7, 16), (10, 3)),
    "half": ((1, 3, 16, 16), (8, 8)),
}


def resample():
    for mode in ("bicubic", "bilinear"):
        for antialias in (False, True):
            for label, (shape, size) in SIZES.items():
                name = f"{mode}_{'antialias' if antialias else 'plain'}_{label}"
                rng = generator(name)

                def forward(i, p, mode=mode, antialias=antialias, size=size):
                    return {"y": F.interpolate(i["x"], size=size, mode=mode, align_corners=False, antialias=antialias)}

                config = {"op": "interpolate", "mode": mode, "antialias": antialias, "size": size, "align_corners": False}
                record(PACKAGE, name, config, {"x": normal(rng, *shape)}, {}, forward)


CASES = {"resample": resample}
