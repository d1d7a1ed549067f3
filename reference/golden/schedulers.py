"""DDPM and DDIM schedulers of diffusers: timestep tables, cumulative alphas, steps with given noise, add_noise, velocity."""

import itertools
import json
from unittest import mock

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from .store import folder, generator, normal, versions

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULES = {
    "scaled_linear": STABLE_DIFFUSION,
    "linear": {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},
    "squaredcos_cap_v2": {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "squaredcos_cap_v2"},
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SAMPLES = (0, 1, 2, 10, 25, 100, 200, 225, 300, 500, 700, 750, 900, 975, 998, 999)

# (num_inference_steps, spacing, steps_offset, set_alpha_to_one, eta, clip_sample)
DDIM_RUNS = (
    (10, "leading", 0, True, 0.0, False),
    (12, "leading", 1, False, 0.0, False),
    (12, "trailing", 0, True, 0.5, False),
    (40, "linspace", 0, False, 0.5, False),
    (50, "leading", 1, True, 0.5, True),
    (50, "trailing", 0, False, 0.0, True),
)
# (num_inference_steps, spacing, steps_offset, variance_type, clip_sample)
DDPM_RUNS = (
    (10, "leading", 0, "fixed_small", False),
    (12, "trailing", 0, "fixed_small", False),
    (40, "leading", 0, "fixed_small", False),
    (40, "leading", 1, "fixed_large", False),
    (50, "linspace", 0, "fixed_small", True),
)


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def alphas():
    found = []
    for options in SCHEDULES.values():
        scheduler = DDPMScheduler(num_train_timesteps=1000, **options)
        values = numbers(scheduler.alphas_cumprod[list(SAMPLES)])
        found.append({**options, "num_train_timesteps": 1000, "index": SAMPLES, "alphas_cumprod": values})
    return found


def timesteps():
    found = []
    for cls in (DDPMScheduler, DDIMScheduler):
        for spacing, offset, steps in itertools.product(("leading", "trailing", "linspace"), (0, 1), (10, 12, 40, 50)):
            scheduler = cls(**STABLE_DIFFUSION, timestep_spacing=spacing, steps_offset=offset)
            scheduler.set_timesteps(steps)
            found.append(
                {
                    "scheduler": cls.__name__,
                    "timestep_spacing": spacing,
                    "steps_offset": offset,
                    "num_inference_steps": steps,
                    "timesteps": scheduler.timesteps.tolist(),
                }
            )
    return found


def positions(steps):
    return sorted({0, steps // 2, steps - 2, steps - 1})


def run_steps(scheduler, steps, vectors, **options):
    """Single steps at a few positions, each from the same sample, so that no error accumulates."""
    scheduler.set_timesteps(steps)
    found = []
    for index in positions(steps):
        t = scheduler.timesteps[index]
        result = scheduler.step(vectors["model_output"], t, vectors["sample"], **options)
        found.append(
            {
                "t": int(t),
                "prev_sample": numbers(result.prev_sample),
                "pred_original_sample": numbers(result.pred_original_sample),
            }
        )
    return found


def ddim(vectors):
    found = []
    for beta, prediction, run in itertools.product(SCHEDULES.values(), PREDICTIONS, DDIM_RUNS):
        steps, spacing, offset, to_one, eta, clip = run
        config = {
            **beta,
            "num_train_timesteps": 1000,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "steps_offset": offset,
            "set_alpha_to_one": to_one,
            "clip_sample": clip,
        }
        scheduler = DDIMScheduler(**config)
        noise = vectors["noise"] if eta > 0 else None
        results = run_steps(scheduler, steps, vectors, eta=eta, variance_noise=noise)
        found.append({"config": config, "num_inference_steps": steps, "eta": eta, "steps": results})
    return found


def ddpm(vectors):
    found = []
    for beta, prediction, run in itertools.product(SCHEDULES.values(), PREDICTIONS, DDPM_RUNS):
        steps, spacing, offset, variance, clip = run
        config = {
            **beta,
            "num_train_timesteps": 1000,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "steps_offset": offset,
            "variance_type": variance,
            "clip_sample": clip,
        }
        scheduler = DDPMScheduler(**config)
        with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: vectors["noise"]):
            results = run_steps(scheduler, steps, vectors)
        found.append({"config": config, "num_inference_steps": steps, "steps": results})
    return found


def forward_process(vectors):
    found = []
    for beta in SCHEDULES.values():
        scheduler = DDPMScheduler(**beta, num_train_timesteps=1000)
        for t in (0, 1, 225, 500, 999):
            at = torch.tensor([t])
            found.append(
                {
                    "config": {**beta, "num_train_timesteps": 1000},
                    "t": t,
                    "add_noise": numbers(scheduler.add_noise(vectors["sample"], vectors["noise"], at)),
                    "get_velocity": numbers(scheduler.get_velocity(vectors["sample"], vectors["noise"], at)),
                }
            )
    return found


def schedulers():
    rng = generator("schedulers")
    vectors = {key: normal(rng, 1, 6).to(torch.float32) for key in ("sample", "model_output", "noise")}
    document = {
        "versions": versions(),
        "vectors": {key: numbers(value) for key, value in vectors.items()},
        "alphas_cumprod": alphas(),
        "timesteps": timesteps(),
        "ddim_steps": ddim(vectors),
        "ddpm_steps": ddpm(vectors),
        "forward_process": forward_process(vectors),
    }
    # One record a line keeps the file small and its diffs readable.
    lines = []
    for key, value in document.items():
        if isinstance(value, list):
            rows = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in value)
            lines.append(f'"{key}": [\n{rows}\n]')
        else:
            lines.append(f'"{key}": {json.dumps(value)}')
    (folder("models") / "schedulers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


CASES = {"schedulers": schedulers}
