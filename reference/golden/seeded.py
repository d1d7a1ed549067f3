"""Model weights from Philox 4x32-10 by name: bit for bit those of `packages/models/src/nn/seeded.ts`, whatever the model's size."""

import math
import re

import numpy as np
import torch

from .weights import seed as name_hash

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)

# Blocks of four words that are computed together; their arrays stay in the processor's cache.
CHUNK = 1 << 15

TABLE = re.compile(r"(_embeddings?\.weight|pos_embed|cls_token)$")

# What ends a residual branch of BERT.
BRANCH = re.compile(r"output\.dense\.weight$")


def rule(key, shape):
    """Offset and scale: elements are offset + scale * (u - 1/2) with u uniform in [0, 1), each operation rounded to f32."""
    if len(shape) == 0:
        return 0.5, 0.25
    if len(shape) == 1:
        return (1.0, 0.5) if key.endswith("weight") else (0.0, 0.25)
    if len(shape) < 4 and TABLE.search(key):
        return 0.0, 1.0
    return 0.0, float(np.float32(2 * math.sqrt(3 / math.prod(shape[1:]))))


def philox(first, count, stream, seed, last=0):
    """Words of `count` blocks from block `first` on, (count, 4) u32; the counter is (block, 0, stream, `last`), the key the seed."""
    c0 = np.arange(first, first + count, dtype=np.uint64)
    c1 = np.zeros(count, np.uint64)
    c2 = np.full(count, stream, np.uint64)
    c3 = np.full(count, last, np.uint64)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0 = c0 * MULTIPLIERS[0]
        p1 = c2 * MULTIPLIERS[1]
        c0 = (p1 >> HIGH) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> HIGH) ^ c3 ^ np.uint64(k1)
        c1 = p1 & LOW
        c3 = p0 & LOW
        k0 = (k0 + WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def draw(key, shape, seed=0, following=None):
    """The weight `key` as f32: element i takes word i of the stream (seed, FNV-1a of the key); `following` is another rule than the key's."""
    offset, scale = following or rule(key, shape)
    count = math.prod(shape)
    out = np.empty((count + 3) // 4 * 4, np.float32)
    stream = name_hash(key)
    for first in range(0, len(out) // 4, CHUNK):
        blocks = min(CHUNK, len(out) // 4 - first)
        words = philox(first, blocks, stream, seed).reshape(-1)
        uniform = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
        values = (uniform - np.float32(0.5)) * np.float32(scale)
        out[4 * first : 4 * (first + blocks)] = values + np.float32(offset) if offset else values
    return torch.from_numpy(out[:count].reshape(shape))


def weights(shapes, seed=0):
    """All weights of a model as float64, from a dict of shapes by key."""
    return {key: draw(key, tuple(shape), seed).double() for key, shape in shapes.items()}


UNIT = (0.0, float(np.float32(2 * math.sqrt(3))))


def unit(key, shape, seed=0):
    """Uniform numbers of mean 0 and variance 1 as float64: inputs and cotangents of models whose weights are seeded."""
    return draw(key, shape, seed, UNIT).double()


def fill(module, seed=0, branches=1):
    """Sets the parameters of a module in its own precision; `branches`, a power of two, multiplies the matrices that end BERT's residual branches."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            value.copy_(draw(key, tuple(value.shape), seed))
            if BRANCH.search(key):
                value.mul_(branches)
    return module
