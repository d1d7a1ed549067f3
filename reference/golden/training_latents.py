"""ReFL as ImageReward's repository has it (`ReFL.py`), on Stable Diffusion's layout: latents of a variational autoencoder, no guidance, no pre-training loss.

The loop, its micro-batches and the moving average are those of the repository, with diffusers' scheduler and EMAModel, accelerate's accumulation and
clipping, torchvision's transforms and PyTorch's AdamW. Models are small and seeded by part and name; noise, graded steps and prompts are functions of the
seed (`streams.py`). Pictures are wider than high and larger than the UNet's own, so that the crop has work to do. Computed in float64, and once more in float32.
"""

import contextlib
import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.schedulers import scheduling_ddpm
from diffusers.training_utils import EMAModel
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .chain import MEAN, STD
from .imagereward import RewardModel
from .pipelines import KL, PNDM, TEXT, UNET
from .pipelines import fill as fill_part
from .store import folder, versions
from .streams import int_at, normals, stream_of
from .tokenizers import MERGES, small_files
from .training import LENGTH, ROUNDING, WORDS, caption, fill, reward_options, tokens

PROMPTS = 16
REFL = {
    "seed": 8,
    "steps": 20,
    "batchSize": 2,
    "accumulation": 3,
    "size": [16, 24],
    "lambda": 8,
    "window": 4,
    "samplerSteps": 12,
    "lr": 2e-3,
    "lrSchedule": "constant",
    "warmupSteps": 0,
    "betas": [0.9, 0.999],
    "epsilon": 1e-8,
    "weightDecay": 1e-2,
    "gradientClip": 1.0,
    "emaDecay": 0.9999,
}
# Steps at which diffusers before 0.18 looks: its DDPM passed over the offset of Stable Diffusion's config.
NO_OFFSET_STEPS = 3
# Entries that are kept of each tensor, spread evenly.
KEPT = 6
REWARD_SCALE = (0.1, 0.5)
# Stable Diffusion 1's file.
SCHEDULER = {"_class_name": "PNDMScheduler", "num_train_timesteps": 1000, "prediction_type": "epsilon", "clip_sample": False, **PNDM}


def check_origin():
    """What the run is to be held to must come from the libraries themselves."""
    for kind, library in ((DDPMScheduler, "diffusers"), (EMAModel, "diffusers"), (Accelerator, "accelerate"), (Resize, "torchvision")):
        if not kind.__module__.startswith(f"{library}."):
            raise TypeError(f"{kind.__name__} is of {kind.__module__}, not of {library}")


def clip_ids():
    """CLIP's ids (16, 77) of all prompts. To be called before ImageReward's code brings its older transformers."""
    with tempfile.TemporaryDirectory() as place:
        small_files(Path(place))
        tokenizer = CLIPTokenizer.from_pretrained(place, pad_token="<|endoftext|>", model_max_length=77)
    texts = [caption(i) for i in range(PROMPTS)]
    return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids


@contextlib.contextmanager
def noise_given(drawn):
    """DDPMScheduler's next noise."""
    before = scheduling_ddpm.randn_tensor
    scheduling_ddpm.randn_tensor = lambda *_, **__: drawn
    try:
        yield
    finally:
        scheduling_ddpm.randn_tensor = before


def scheduler_of(config):
    """DDPM's from the file of a folder with PNDM, as the repository opens Stable Diffusion's."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "scheduler_config.json").write_text(json.dumps(config))
        return DDPMScheduler.from_pretrained(place)


class Models:
    """All parts with seeded weights in one precision."""

    def __init__(self, dtype):
        text = CLIPTextModel(CLIPTextConfig(**TEXT, attn_implementation="eager"))
        lacks = "" if next(iter(text.state_dict())).startswith("text_model.") else "text_model."
        self.text = fill_part(text, "text_encoder", lacks).to(dtype).requires_grad_(False)
        self.vae = fill_part(AutoencoderKL(**KL), "vae").to(dtype).requires_grad_(False)
        self.unet = fill_part(UNet2DConditionModel(**UNET), "unet").to(dtype)
        self.reward = reward_options(*REWARD_SCALE)
        self.scorer = fill(RewardModel(self.reward), "reward", dtype).requires_grad_(False)
        size = self.reward["vision"]["image_size"]
        resize = Resize(size, interpolation=InterpolationMode.BICUBIC)
        self.preprocess = Compose([resize, CenterCrop(size), Normalize(MEAN, STD)])


def rewards_of(models, scheduler, ids, options, index):
    """Rewards of the pictures of micro-batch `index`, with a gradient; also the pictures."""
    seed, batch, steps, width = (options[key] for key in ("seed", "batchSize", "samplerSteps", "window"))
    unet, vae = models.unet, models.vae
    dtype = unet.dtype
    first = index * batch
    numbers = [int_at(seed, stream_of("tuning prompt"), first + i, PROMPTS) for i in range(batch)]
    states = models.text(ids[numbers])[0]
    scale = 2 ** (len(KL["block_out_channels"]) - 1)
    shape = (batch, UNET["in_channels"], *(side // scale for side in options["size"]))
    latents = normals(seed, "refl start", first, shape).to(dtype)
    scheduler.set_timesteps(steps)
    graded = steps - width + int_at(seed, stream_of("graded step"), index, width)
    for i, t in enumerate(scheduler.timesteps[:graded]):
        with torch.no_grad(), noise_given(normals(seed, f"refl step {i}", first, shape).to(dtype)):
            answer = unet(scheduler.scale_model_input(latents, t), t, encoder_hidden_states=states).sample
            latents = scheduler.step(answer, t, latents).prev_sample
    t = scheduler.timesteps[graded]
    answer = unet(scheduler.scale_model_input(latents, t), t, encoder_hidden_states=states).sample
    # The noise of this step plays no part.
    with noise_given(torch.zeros(shape, dtype=dtype)):
        x0 = scheduler.step(answer, t, latents).pred_original_sample
    image = (vae.decode(1 / vae.config.scaling_factor * x0).sample / 2 + 0.5).clamp(0, 1)
    mean, std = (models.reward[key] for key in ("mean", "std"))
    raw = models.scorer.score(models.preprocess(image), *tokens([caption(n) for n in numbers]))["raw"]
    return (raw - mean) / std, image


def sample_of(tensor):
    """Entry i of the kept ones is the one at floor(i * size / count)."""
    flat = tensor.detach().reshape(-1)
    count = min(KEPT, flat.numel())
    return [float(f"{flat[i * flat.numel() // count].item():.7g}") for i in range(count)]


def figures(tensors):
    """Norm, largest entry and some entries of each tensor by name."""
    rounded = lambda x: float(f"{x.item():.7g}")
    return {
        key: {"norm": rounded(value.norm()), "largest": rounded(value.abs().max()), "entries": sample_of(value)}
        for key, value in tensors.items()
    }


def train(dtype, ids, schedule, steps):
    """The repository's loop: losses and rewards of all micro-batches, norms before clipping, first gradients and the moving average at the end."""
    options = REFL
    models = Models(dtype)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=options["accumulation"])
    scheduler = scheduler_of(schedule)
    unet = models.unet
    unet.train()
    start = {key: value.detach().clone() for key, value in unet.named_parameters()}
    average = EMAModel(unet.parameters(), decay=options["emaDecay"], model_cls=UNet2DConditionModel, model_config=unet.config)
    optimiser = torch.optim.AdamW(
        unet.parameters(),
        lr=options["lr"],
        betas=tuple(options["betas"]),
        weight_decay=options["weightDecay"],
        eps=options["epsilon"],
    )
    models.unet, optimiser = accelerator.prepare(unet, optimiser)
    curves = {"rewardLoss": [], "reward": [], "gradNorm": []}
    first, seen, micro = {}, [], {"loss": [], "reward": []}
    index = 0
    while len(curves["gradNorm"]) < steps:
        with accelerator.accumulate(models.unet):
            rewards, image = rewards_of(models, scheduler, ids, options, index)
            loss = F.relu(-rewards + 2).mean()
            seen.append(((image > 0) & (image < 1)).double().mean().item())
            micro["loss"].append(loss.item())
            micro["reward"].append(rewards.mean().item())
            accelerator.backward(loss * options["lambda"])
            if accelerator.sync_gradients:
                if not first:
                    first = {key: value.grad.clone() for key, value in unet.named_parameters()}
                norm = accelerator.clip_grad_norm_(unet.parameters(), options["gradientClip"])
                curves["gradNorm"].append(norm.item())
            optimiser.step()
            optimiser.zero_grad()
        if accelerator.sync_gradients:
            average.step(unet.parameters())
        index += 1
    n = options["accumulation"]
    for key, values in (("rewardLoss", micro["loss"]), ("reward", micro["reward"])):
        curves[key] = [sum(values[i : i + n]) / n for i in range(0, len(values), n)]
    average.copy_to(unet.parameters())
    moved = {key: value.detach() - start[key] for key, value in unet.named_parameters()}
    return {"curves": curves, "micro": micro, "gradients": first, "moved": moved, "unclamped": seen}


def compare(name, exact, rounded):
    """Rounding must not decide a run that is to be followed."""
    for key, values in exact["curves"].items():
        error = max(abs(a - b) / abs(b) for a, b in zip(rounded["curves"][key], values))
        first, last = (sum(part) / len(part) for part in (values[:6], values[-6:]))
        print(f"  {name} {key}: {first:.4f} in the first steps, {last:.4f} in the last; float32 differs by up to {error:.1e}")
        if key == "rewardLoss" and error > ROUNDING:
            raise ValueError(f"{name}: float32 differs by up to {error:.1e}")
    for what in ("gradients", "moved"):
        pairs = [(rounded[what][key].double(), value) for key, value in exact[what].items()]
        error = max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
        print(f"  {name} {what}: float32 differs by up to {error:.1e} of a tensor's largest entry")


def refl_latents():
    check_origin()
    ids = clip_ids()
    schedules = {"offset": (SCHEDULER, REFL["steps"]), "noOffset": ({**SCHEDULER, "steps_offset": 0}, NO_OFFSET_STEPS)}
    runs = {}
    for name, (schedule, steps) in schedules.items():
        exact = train(torch.float64, ids, schedule, steps)
        compare(name, exact, train(torch.float32, ids, schedule, steps))
        runs[name] = exact
    run = runs["offset"]
    norms = run["curves"]["gradNorm"]
    clipped = sum(norm > REFL["gradientClip"] for norm in norms)
    print(f"  {clipped} of {len(norms)} steps clipped; {min(run['unclamped']):.0%} to {max(run['unclamped']):.0%} of the pixels are not clamped")
    nine = lambda values: [float(f"{x:.9g}") for x in values]
    curves = lambda run: {key: nine(values) for key, values in run["curves"].items()}
    content = {
        "case": "training_refl_latents",
        "maxLength": LENGTH,
        "words": WORDS,
        "prompts": [caption(i) for i in range(PROMPTS)],
        "merges": MERGES,
        "training": REFL,
        "unet": UNET,
        "text_encoder": TEXT,
        "vae": KL,
        "scheduler": SCHEDULER,
        "reward": reward_options(*REWARD_SCALE),
        "clipIds": [row[:12] for row in ids.tolist()],
        "curves": curves(run),
        "curvesWithoutOffset": curves(runs["noOffset"]),
        "firstStep": {key: nine(values[: REFL["accumulation"]]) for key, values in run["micro"].items()},
        "gradients": figures(run["gradients"]),
        "moved": figures(run["moved"]),
        "versions": versions(),
    }
    (folder("refl") / "training_refl_latents.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


CASES = {"training_refl_latents": refl_latents}
