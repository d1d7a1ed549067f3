"""The random numbers of training and of its data as the package draws them: functions of (seed, stream, index), from Philox 4x32-10.

Equal to `packages/refl/src/data/random.ts` and `train/streams.ts`; normal numbers as `randn` of `packages/tensor`, but in float64.
"""

import math

import numpy as np
import torch

from .seeded import philox

TWO_32 = 2**32


def stream_of(name):
    """The number of a named use: FNV-1a, mixed by MurmurHash3's finaliser. Names are ASCII."""
    value = 0x811C9DC5
    for byte in f"stream:{name}".encode("ascii"):
        value = ((value ^ byte) * 0x01000193) % TWO_32
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) % TWO_32
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) % TWO_32
    return value ^ (value >> 16)


def uniform_at(seed, stream, index, block=0):
    """Uniform in [0, 1), 32 bits of it: the first word of the counter (index, 0, stream, block)."""
    return int(philox(index, 1, stream, seed, block)[0, 0]) / TWO_32


def int_at(seed, stream, index, count, block=0):
    return math.floor(uniform_at(seed, stream, index, block) * count)


def shuffle_at(seed, stream, index, count):
    """A permutation of 0 .. count - 1 (Fisher-Yates)."""
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        j = int_at(seed, stream, index, i + 1, i)
        order[i], order[j] = order[j], order[i]
    return order


def uniforms(seed, use, first, count):
    """A number for each of the pictures first .. first + count - 1 of a use."""
    return [uniform_at(seed, stream_of(use), first + i) for i in range(count)]


def normals(seed, use, first, shape):
    """Standard normal noise of pictures first, first + 1, ...: each has a stream of its own. float64."""
    count = math.prod(shape[1:])
    base = stream_of(use)
    rows = []
    for i in range(shape[0]):
        words = philox(0, (count + 3) // 4, (base + first + i) % TWO_32, seed).reshape(-1, 2)
        u = (words >> np.uint32(8)).astype(np.float64) / 2.0**24
        radius = np.sqrt(-2 * np.log(1 - u[:, 0]))
        angle = 2 * np.pi * u[:, 1]
        rows.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count])
    return torch.from_numpy(np.stack(rows).reshape(shape))
