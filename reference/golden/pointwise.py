"""Pointwise functions and their derivatives on a grid with extremes, all in one file; the key is the function's name."""

import numpy as np
import torch
import torch.nn.functional as F

from .store import differentiate, write

PACKAGE = "autograd"

MAGNITUDES = [0.0, 1e-30, 1e-8, 1e-4, 1e-2, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0]
LARGE = [13.0, 15.0, 17.0, 20.0, 20.5, 30.0, 50.0, 80.0]
HUGE = [88.0, 104.0, 1e3, 1e5]


def signed(values):
    return [-v for v in reversed(values) if v != 0.0] + values


GRID = signed(MAGNITUDES + LARGE)
WIDE = signed(MAGNITUDES + LARGE + HUGE)
POSITIVE = [1e-30, 1e-12, 1e-6] + [v for v in MAGNITUDES + LARGE + HUGE if v >= 1e-4]
NONZERO = [v for v in GRID if abs(v) >= 1e-4]

FUNCTIONS = {
    "exp": (GRID, torch.exp),
    "log": (POSITIVE, torch.log),
    "sqrt": (POSITIVE, torch.sqrt),
    "rsqrt": ([v for v in POSITIVE if v >= 1e-12], torch.rsqrt),
    "reciprocal": (NONZERO, torch.reciprocal),
    "square": (GRID, torch.square),
    "abs": (WIDE, torch.abs),
    "sin": (GRID, torch.sin),
    "cos": (GRID, torch.cos),
    "tanh": (WIDE, torch.tanh),
    "erf": (WIDE, torch.erf),
    "sigmoid": (WIDE, torch.sigmoid),
    "logsigmoid": (WIDE, F.logsigmoid),
    "softplus": (WIDE, F.softplus),
    "softplus_beta2": (WIDE, lambda x: F.softplus(x, beta=2.0)),
    "relu": (WIDE, F.relu),
    "silu": (WIDE, F.silu),
    "gelu": (WIDE, F.gelu),
    "gelu_tanh": (WIDE, lambda x: F.gelu(x, approximate="tanh")),
    "quick_gelu": (WIDE, lambda x: x * torch.sigmoid(1.702 * x)),
    "clamp": (WIDE, lambda x: torch.clamp(x, -1.0, 1.5)),
    "clamp_min": (WIDE, lambda x: torch.clamp(x, min=0.5)),
}


def pointwise():
    inputs = {k: torch.from_numpy(np.array(g, np.float32).astype(np.float64)) for k, (g, _) in FUNCTIONS.items()}

    def forward(i, p):
        return {k: fn(i[k]) for k, (_, fn) in FUNCTIONS.items()}

    config = {
        "op": "pointwise",
        "functions": list(FUNCTIONS),
        "options": {
            "softplus": {"beta": 1, "threshold": 20},
            "softplus_beta2": {"beta": 2, "threshold": 20},
            "clamp": {"min": -1.0, "max": 1.5},
            "clamp_min": {"min": 0.5},
            "quick_gelu": "x * sigmoid(1.702 x)",
        },
    }
    write(PACKAGE, "pointwise", config, differentiate("pointwise", inputs, {}, forward))


CASES = {"pointwise": pointwise}
