"""Schedulers of diffusers: tables, steps with given noise, add_noise, velocity, the coefficients of whole runs, guidance."""

import contextlib
import itertools
import json
from unittest import mock

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler

from .store import folder, generator, normal, record, versions

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


# Coefficients of whole runs. (name, class, config, step options)
ZERO_SNR = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
RUNS = (
    ("ddim today", DDIMScheduler, {**STABLE_DIFFUSION, "steps_offset": 1, "set_alpha_to_one": False}, {"eta": 0.0}),
    ("ddim before", DDIMScheduler, {**STABLE_DIFFUSION, "set_alpha_to_one": False}, {"eta": 1.0}),
    ("ddim zero snr", DDIMScheduler, {**STABLE_DIFFUSION, **ZERO_SNR, "timestep_spacing": "trailing"}, {"eta": 0.5}),
    ("ddim linear x0", DDIMScheduler, {**LINEAR, "timestep_spacing": "linspace", "prediction_type": "sample"}, {"eta": 0.3}),
    ("ddim cosine", DDIMScheduler, COSINE, {"eta": 0.0}),
    ("ddpm before", DDPMScheduler, STABLE_DIFFUSION, {}),
    ("ddpm today", DDPMScheduler, {**STABLE_DIFFUSION, "steps_offset": 1}, {}),
    ("ddpm zero snr", DDPMScheduler, {**STABLE_DIFFUSION, **ZERO_SNR, "timestep_spacing": "trailing"}, {}),
    ("ddpm linear x0", DDPMScheduler, {**LINEAR, "timestep_spacing": "linspace", "prediction_type": "sample"}, {}),
    ("ddpm cosine", DDPMScheduler, {**COSINE, "variance_type": "fixed_large"}, {}),
    ("pndm today", PNDMScheduler, {**STABLE_DIFFUSION, "steps_offset": 1, "skip_prk_steps": True}, {}),
    ("pndm before", PNDMScheduler, {**STABLE_DIFFUSION, "skip_prk_steps": True, "set_alpha_to_one": True}, {}),
    ("pndm v", PNDMScheduler, {**LINEAR, "skip_prk_steps": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}, {}),
    ("pndm linspace", PNDMScheduler, {**STABLE_DIFFUSION, "skip_prk_steps": True, "timestep_spacing": "linspace"}, {}),
    ("pndm runge-kutta", PNDMScheduler, {**STABLE_DIFFUSION, "steps_offset": 1}, {}),
    ("pndm runge-kutta v", PNDMScheduler, {**LINEAR, "prediction_type": "v_prediction", "timestep_spacing": "linspace"}, {}),
)
MOST = 1000
BLOCK = 50
WHOLE = 20
LOOK_BACK = 16


def visited(steps, count):
    """Which calls of a run are looked at: all of a short one, about sixteen of a long one."""
    return [i for i in range(count) if count <= 24 or i < 3 or i >= count - 2 or i % (count // 10) == 0]


def position_weight(index):
    return 1 + index % 7 / 8


def fnv(values):
    value = 0x811C9DC5
    for number in values:
        for byte in int(number).to_bytes(4, "little", signed=True):
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def basis(index, width):
    vector = torch.zeros(1, width, dtype=torch.float64)
    vector[0, index] = 1
    return vector


def single_coefficients(scheduler, calls, options):
    """[sample, output, noise] of single-step samplers: each is one entry of a three-vector that runs through `step`."""
    sample, output, noise = (basis(i, 3) for i in range(3))
    extra = {"variance_noise": noise} if options.get("eta") else {}
    with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: noise):
        for call in calls:
            result = scheduler.step(output, int(scheduler.timesteps[call]), sample, **options, **extra)
            yield call, result.prev_sample[0].tolist()


def multistep_coefficients(scheduler, calls, _options):
    """[sample, output by weight of its place] of PNDM: every sample and every output has an entry, reused after LOOK_BACK calls."""
    wanted = set(calls)
    for call, t in enumerate(scheduler.timesteps.tolist()):
        sample, output = (basis(part + call % LOOK_BACK, 2 * LOOK_BACK) for part in (0, LOOK_BACK))
        result = scheduler.step(output, t, sample).prev_sample[0]
        if call in wanted:
            newest_first = [(call - i) % LOOK_BACK for i in range(LOOK_BACK)]
            samples, outputs = result[newest_first], result[[LOOK_BACK + i for i in newest_first]]
            places = torch.tensor([position_weight(i) for i in range(LOOK_BACK)], dtype=torch.float64)
            yield call, [float((samples * places).sum()), float((outputs * places).sum()), float(outputs.sum())]


def run_of(cls, config, options):
    scheduler = cls(num_train_timesteps=MOST, **({} if cls is PNDMScheduler else {"clip_sample": False}), **config)
    read = multistep_coefficients if cls is PNDMScheduler else single_coefficients
    found = {"timesteps": [], "sums": [], "skipped": [], "whole": []}
    for first in range(1, MOST + 1, BLOCK):
        numbers, sums = [], [0.0, 0.0, 0.0]
        for steps in range(first, first + BLOCK):
            try:
                scheduler.set_timesteps(steps)
            except ValueError:  # The Runge-Kutta start needs four steps.
                found["skipped"].append(steps)
                continue
            times = scheduler.timesteps.tolist()
            # An offset past the last timestep fails in step; rounding can add a call at -1.
            if min(times) < 0 or max(times) >= MOST:
                found["skipped"].append(steps)
                continue
            numbers += times
            # Running PNDM takes every call of a run: not every count.
            if cls is PNDMScheduler and steps > 40 and steps % 37 and steps < MOST - 1:
                continue
            for call, values in read(scheduler, visited(steps, len(times)), options):
                weight = position_weight(call)
                sums = [total + weight * value for total, value in zip(sums, values)]
                if steps == WHOLE:
                    found["whole"].append(values)
        found["timesteps"].append(f"{fnv(numbers):08x}")
        found["sums"].append(sums)
    return found


def rooted(base, exponent):
    """`base ** exponent` with square roots rounded correctly: torch's own are off by one in the last place on some processors."""
    return torch.from_numpy(np.asarray(np.sqrt(base.numpy()))) if exponent == 0.5 else torch.pow(base, exponent)


def correct_roots():
    """Both ways to write a square root; `betas` and their products are made inside as well."""
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(torch.Tensor, "__pow__", rooted))
    stack.enter_context(mock.patch.object(torch.Tensor, "sqrt", lambda base: rooted(base, 0.5)))
    return stack


def coefficients():
    rows = []
    with correct_roots():
        for name, cls, config, options in RUNS:
            found = run_of(cls, config, options)
            rows.append({"name": name, "class": cls.__name__, "config": config, **options, **found})
    text = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in rows)
    head = {"versions": versions(), "block": BLOCK, "whole": WHOLE, "most": MOST}
    (folder("models") / "scheduler_runs.json").write_text(json.dumps(head)[:-1] + f', "runs": [\n{text}\n]}}\n')


def guidance():
    """Classifier-free guidance with and without the rescaling of arXiv 2305.08891."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    rng = generator("guidance")
    inputs = {"uncond": normal(rng, 2, 3, 4, 5), "cond": normal(rng, 2, 3, 4, 5, scale=1.5)}

    def forward(i, p):
        guided = i["uncond"] + 7.5 * (i["cond"] - i["uncond"])
        return {"guided": guided, "rescaled": rescale_noise_cfg(guided, i["cond"], 0.7)}

    record("models", "guidance", {"scale": 7.5, "rescale": 0.7}, inputs, {}, forward)


CASES = {"schedulers": schedulers, "scheduler_runs": coefficients, "guidance": guidance}
