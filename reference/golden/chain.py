"""The whole ReFL chain: UNet, clean-image estimate, pixel shuffle, resize, reward model, hinge loss; gradients of the UNet."""

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch.func import functional_call

from .blip import PAIRING, texts
from .imagereward import RewardModel, config
from .store import differentiate, generator, normal, write
from .unet import COMMON
from .weights import halved, shapes, under, weights

PACKAGE = "models"

UNET = {
    **COMMON,
    "sample_size": 8,
    "in_channels": 12,
    "out_channels": 12,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
REWARD_SIZE = 12
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SCALE = 0.3
TIMESTEP = 225
# Cumulative alpha of Stable Diffusion's schedule at that timestep.
ALPHA_BAR = 0.714324296

ESTIMATES = {
    "sample": lambda x, out, a: out,
    "epsilon": lambda x, out, a: (x - (1 - a).sqrt() * out) / a.sqrt(),
    "v_prediction": lambda x, out, a: a.sqrt() * x - (1 - a).sqrt() * out,
}


def image_of(x0):
    """Pictures in [0, 1] from the 12-channel estimate in [-1, 1]."""
    return (F.pixel_shuffle(x0, 2) / 2 + 0.5).clamp(0, 1)


def normalised(image):
    """The reward model's input: anti-aliased bicubic resize, no clamp, CLIP's mean and deviation."""
    resized = F.interpolate(
        image, size=(REWARD_SIZE, REWARD_SIZE), mode="bicubic", align_corners=False, antialias=True
    )
    mean, std = (torch.tensor(v, dtype=image.dtype).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (resized - mean) / std


def check_margins(name, x0, reward):
    """Values at a kink of clamp or hinge would make the gradient depend on rounding."""
    margin = min((x0.abs() - 1).abs().min().item(), (2 - reward).abs().min().item())
    if margin < 1e-4:
        raise ValueError(f"{name}: a value lies {margin:.1e} from a kink; choose another seed")
    saturated = (x0.abs() > 1).double().mean().item()
    if not 0.02 < saturated < 0.5:
        raise ValueError(f"{name}: {saturated:.0%} of the pixels are clamped")


def chain(prediction):
    name = f"chain_tiny_{prediction}"
    unet = UNet2DConditionModel(**UNET).double().eval()
    options = config(REWARD_SIZE)
    reward_model = RewardModel(options).double().eval()
    found = shapes(reward_model, "reward.")
    scoring = {key: shape for key, shape in found.items() if not key.removeprefix("reward.").startswith(PAIRING)}
    values, _ = weights({**shapes(unet, "unet."), **scoring})
    rng = generator(name)
    ids, mask = texts(rng, options, "cls_token_id")
    inputs = {
        "sample": normal(rng, 3, 12, 8, 8, scale=0.7),
        "encoder_hidden_states": normal(rng, 3, 5, UNET["cross_attention_dim"]),
        "timestep": torch.tensor([TIMESTEP]),
        "input_ids": ids,
        "attention_mask": mask,
    }
    alpha_bar = torch.tensor(ALPHA_BAR, dtype=torch.float32).double()

    def forward(i, p):
        arguments = (i["sample"], i["timestep"], i["encoder_hidden_states"])
        out = functional_call(unet, under(p, "unet."), arguments).sample
        x0 = ESTIMATES[prediction](i["sample"], out, alpha_bar)
        image = image_of(x0)
        pixels = normalised(image)
        arguments = ("score", pixels, i["input_ids"], i["attention_mask"])
        reward = functional_call(reward_model, under(p, "reward."), arguments)["reward"]
        loss = F.relu(2 - reward).mean() * SCALE
        check_margins(name, x0, reward)
        return {"model_output": out, "x0": x0, "image": image, "pixels": pixels, "reward": reward, "loss": loss}

    tensors = differentiate(
        name,
        inputs,
        values,
        forward,
        frozen="reward.",
        watched=("model_output", "x0", "image", "pixels", "reward"),
        cotangents={"loss": torch.ones((), dtype=torch.float64)},
    )
    described = {
        "prediction_type": prediction,
        "alpha_bar": float(ALPHA_BAR),
        "timestep": TIMESTEP,
        "pixel_shuffle": 2,
        "reward_image_size": REWARD_SIZE,
        "resize": {"mode": "bicubic", "antialias": True},
        "image_mean": MEAN,
        "image_std": STD,
        "loss": {"hinge": 2, "scale": SCALE},
        "unet": UNET,
        "reward": options,
    }
    write(PACKAGE, name, described, halved(tensors))


CASES = {f"chain_tiny_{prediction}": lambda prediction=prediction: chain(prediction) for prediction in ESTIMATES}
