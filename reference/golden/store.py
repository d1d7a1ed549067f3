"""Runs one golden case in float64 and writes its tensors as safetensors with the configuration beside it."""

import importlib.metadata
import json
import zlib
from pathlib import Path

import numpy as np
import torch

PACKAGES = Path(__file__).resolve().parents[2] / "packages"


def folder(package):
    """The golden folder of a workspace package; made when missing."""
    path = PACKAGES / package / "test" / "golden"
    path.mkdir(parents=True, exist_ok=True)
    return path


def generator(name):
    """A numpy generator seeded by the case's name, so that adding a case never changes another."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def normal(rng, *shape, scale=1.0):
    """Standard normal values rounded to f32 and held as float64."""
    values = np.asarray(rng.standard_normal(shape) * scale, np.float32)
    return torch.from_numpy(values.astype(np.float64))


def integers(rng, low, high, *shape):
    """Integers in [low, high) as int64."""
    return torch.from_numpy(rng.integers(low, high, shape).astype(np.int64))


def rounded(tensor):
    """The stored form: f32 for floats, i32 for integers and booleans."""
    dtype = torch.float32 if tensor.is_floating_point() else torch.int32
    return tensor.detach().to(dtype).contiguous().clone()


def versions():
    names = ("torch", "diffusers", "transformers", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


DTYPES = {torch.float32: "F32", torch.int32: "I32", torch.float16: "F16"}


def serialise(tensors, metadata):
    """A safetensors file whose bytes depend on its content only; the library's own writer shuffles the metadata."""
    header = {"__metadata__": metadata}
    chunks = []
    offset = 0
    # Wide types first, so that every tensor is aligned to its element size.
    for name in sorted(tensors, key=lambda key: (-tensors[key].element_size(), key)):
        tensor = tensors[name]
        data = tensor.numpy().tobytes()
        offsets = [offset, offset + len(data)]
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


def write(package, name, config, tensors):
    """Writes `<name>.safetensors` and `<name>.json`; the same configuration stands in the file's metadata."""
    config = {"case": name, **config}
    made = versions()
    metadata = {"config": json.dumps(config, separators=(",", ":")), **made}
    path = folder(package)
    (path / f"{name}.safetensors").write_bytes(serialise(tensors, metadata))
    (path / f"{name}.json").write_text(json.dumps({**config, "versions": made}, indent=2) + "\n")


def differentiate(name, inputs, params, forward, frozen="", watched=(), cotangents=None):
    """Runs `forward(inputs, params)` on float64 leaves and returns every tensor of the case by its stored name.

    `forward` returns a dict of outputs; loss = sum over floating outputs of sum(output * cotangent). Leaves that the
    loss does not depend on get no gradient entry, nor do parameters below the prefix `frozen`. Outputs named in
    `watched` are only looked at: they have a gradient entry and no cotangent. `cotangents` are given, not drawn.
    """
    rng = generator(name + "/cotangent")
    inputs = {key: leaf(value) for key, value in inputs.items()}
    params = {key: leaf(value) for key, value in params.items()}
    for key, value in params.items():
        if frozen and key.startswith(frozen):
            value.requires_grad_(False)
    outputs = forward(inputs, params)
    cotangents = dict(cotangents or {})
    loss = torch.zeros((), dtype=torch.float64)
    for key, value in outputs.items():
        if key in watched:
            value.retain_grad()
        elif value.is_floating_point() and value.requires_grad:
            cotangents.setdefault(key, normal(rng, *value.shape))
            loss = loss + (value * cotangents[key]).sum()
    loss.backward()
    tensors = {}
    for key, value in outputs.items():
        tensors[f"output.{key}"] = rounded(value)
        if key in watched:
            tensors[f"grad.{key}"] = rounded(value.grad)
    for key, value in cotangents.items():
        tensors[f"cotangent.{key}"] = rounded(value)
    for group, prefix in ((inputs, "input"), (params, "param")):
        gradient = "grad" if prefix == "input" else "gradparam"
        for key, value in group.items():
            tensors[f"{prefix}.{key}"] = rounded(value)
            if value.grad is not None:
                tensors[f"{gradient}.{key}"] = rounded(value.grad)
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name}: {key} is not finite in f32")
    return tensors


def leaf(value):
    """A float64 leaf with the f32 value that is stored, or the integer tensor as it is."""
    if not value.is_floating_point():
        return value.detach()
    return value.detach().to(torch.float32).to(torch.float64).requires_grad_(True)


def record(package, name, config, inputs, params, forward):
    """Differentiates one case and writes it."""
    write(package, name, config, differentiate(name, inputs, params, forward))
