"""Model weights from an integer hash of key and index: reproducible in any language and exact in f16."""

import math

import numpy as np
import torch


def rule(key, shape):
    """How a weight is drawn: value = offset + (top `bits` bits of the hash - 2^(bits-1)) * 2^exponent."""
    if len(shape) == 1 and key.endswith("weight"):
        return {"offset": 1, "bits": 9, "exponent": -10}
    if len(shape) < 2:
        return {"offset": 0, "bits": 11, "exponent": -13}
    if key.endswith(("embedding.weight", "embeddings.weight", "pos_embed", "cls_token")):
        return {"offset": 0, "bits": 11, "exponent": -11}
    fan_in = math.prod(shape[1:])
    return {"offset": 0, "bits": 11, "exponent": round(math.log2(3 / fan_in) / 2) - 10}


def seed(key):
    """FNV-1a, 32 bits, of the key's UTF-8 bytes."""
    value = 0x811C9DC5
    for byte in key.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def draw(key, shape, offset, bits, exponent):
    """The weight `key` as float64; element i hashes seed(key) + i * 0x9e3779b9 with two multiply-xorshift rounds."""
    index = np.arange(math.prod(shape), dtype=np.uint64)
    x = ((seed(key) + index * 0x9E3779B9) & 0xFFFFFFFF).astype(np.uint32)
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= np.uint32(0x846CA68B)
    x ^= x >> 16
    whole = (x >> (32 - bits)).astype(np.float64) - 2.0 ** (bits - 1)
    return torch.from_numpy(offset + whole * 2.0**exponent).reshape(shape)


def weights(shapes):
    """All weights of a model and the rules they follow, from a dict of shapes by key."""
    rules = {key: {"shape": list(shape), **rule(key, tuple(shape))} for key, shape in shapes.items()}
    values = {key: draw(key, **found) for key, found in rules.items()}
    for key, value in values.items():
        if not torch.equal(value.half().double(), value):
            raise ValueError(f"{key}: not exact in f16")
    return values, rules


def shapes(module, prefix=""):
    """Shapes of a module's parameters by state-dict key."""
    return {prefix + key: tuple(value.shape) for key, value in module.named_parameters()}


def halved(tensors):
    """The tensors with weights stored as f16."""
    return {key: value.half() if key.startswith("param.") else value for key, value in tensors.items()}


def under(params, prefix):
    """The parameters below a prefix, by the rest of their key."""
    return {key[len(prefix) :]: value for key, value in params.items() if key.startswith(prefix)}
