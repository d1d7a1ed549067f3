"""Optimiser cases: Adam and AdamW over five steps with given gradients, and clipping by the global gradient norm."""

import torch

from .store import generator, normal, rounded, write

PACKAGE = "autograd"

RUNS = {
    # name: (optimiser class, options)
    "adamw": (torch.optim.AdamW, {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    "adam": (torch.optim.Adam, {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    "adam_no_decay": (torch.optim.Adam, {"lr": 3e-3, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.0}),
}
SHAPES = {"a": (3, 4), "b": (5,)}


def optimisers():
    for name, (optimiser, options) in RUNS.items():
        rng = generator(name)
        params = {key: torch.nn.Parameter(normal(rng, *shape)) for key, shape in SHAPES.items()}
        tensors = {f"param.{key}": rounded(value) for key, value in params.items()}
        run = optimiser(params.values(), **options)
        for step in range(1, 6):
            for key, value in params.items():
                value.grad = normal(rng, *value.shape, scale=10.0 ** (-step))
                tensors[f"input.step{step}.grad.{key}"] = rounded(value.grad)
            run.step()
            for key, value in params.items():
                tensors[f"output.step{step}.{key}"] = rounded(value)
        for key, value in params.items():
            tensors[f"output.exp_avg.{key}"] = rounded(run.state[value]["exp_avg"])
            tensors[f"output.exp_avg_sq.{key}"] = rounded(run.state[value]["exp_avg_sq"])
        write(PACKAGE, name, {"op": optimiser.__name__, "steps": 5, **options}, tensors)


def clipping():
    for name, maximum in (("clip_grad_norm_above", 1.0), ("clip_grad_norm_below", 100.0)):
        rng = generator(name)
        params = {key: torch.nn.Parameter(normal(rng, *shape)) for key, shape in SHAPES.items()}
        tensors = {}
        for key, value in params.items():
            value.grad = normal(rng, *value.shape)
            tensors[f"input.grad.{key}"] = rounded(value.grad)
        norm = torch.nn.utils.clip_grad_norm_(params.values(), maximum)
        tensors["output.total_norm"] = rounded(norm)
        for key, value in params.items():
            tensors[f"output.grad.{key}"] = rounded(value.grad)
        write(PACKAGE, name, {"op": "clip_grad_norm_", "max_norm": maximum, "norm_type": 2}, tensors)


CASES = {"optimisers": optimisers, "clip_grad_norm": clipping}
