"""Pictures of diffusers' Stable Diffusion pipelines at a small configuration: prompts to pixels, with PyTorch's noise, for every scheduler, and from a picture.

Weights are seeded by part and name and not stored. All is computed in f32, in which diffusers draws its noise.
"""

import json
import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .seeded import draw, rule
from .store import folder, serialise, versions
from .tokenizers import MERGES, clip_vocabulary, small_files

PROMPTS = ("the cat and the dog", "a red picture")
NEGATIVE = "sky, ..."
SIZE = 16

UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
TEXT = {
    "vocab_size": len(clip_vocabulary(MERGES)),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
}
KL = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": SIZE,
    "scaling_factor": 0.18215,
}
TINY = {
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "num_encoder_blocks": [1, 1],
    "num_decoder_blocks": [1, 1],
    "latent_channels": 4,
}
# Stable Diffusion 1's.
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1, "clip_sample": False}
PNDM = {key: value for key, value in SCHEDULE.items() if key != "clip_sample"} | {"skip_prk_steps": True, "set_alpha_to_one": False}

# Every case: scheduler's class and config, the call's options; `seeds` is one generator's seed or a list of one for each picture.
CASES_OF = {
    "pndm": ("PNDMScheduler", PNDM, {"steps": 10, "guidance": 7.5, "negative": NEGATIVE, "seeds": 3}),
    "pndm_prk": ("PNDMScheduler", {**PNDM, "skip_prk_steps": False}, {"steps": 6, "guidance": 1.0, "seeds": [4, 5]}),
    "ddim_rescaled": (
        "DDIMScheduler",
        {**SCHEDULE, "set_alpha_to_one": False, "timestep_spacing": "trailing"},
        {"steps": 6, "guidance": 4.0, "rescale": 0.7, "eta": 0.5, "seeds": [11, 7]},
    ),
    "ddim_v": (
        "DDIMScheduler",
        {**SCHEDULE, "prediction_type": "v_prediction", "timestep_spacing": "linspace"},
        {"steps": 5, "guidance": 3.0, "seeds": 9},
    ),
    "ddpm": ("DDPMScheduler", SCHEDULE, {"steps": 8, "guidance": 2.0, "seeds": 12}),
    "ddim_tiny": ("DDIMScheduler", SCHEDULE, {"steps": 5, "guidance": 2.0, "seeds": 1, "vae": "tiny"}),
    "img2img_pndm": ("PNDMScheduler", PNDM, {"steps": 10, "guidance": 7.5, "negative": NEGATIVE, "seeds": [5, 6], "strength": 0.6}),
    "img2img_ddim": ("DDIMScheduler", SCHEDULE, {"steps": 8, "guidance": 2.0, "eta": 1.0, "seeds": 21, "strength": 0.75}),
    "img2img_tiny": ("DDPMScheduler", SCHEDULE, {"steps": 6, "guidance": 1.0, "seeds": 2, "strength": 0.5, "vae": "tiny"}),
}


def fill(module, part, prefix=""):
    """Seeded parameters under `<part>.<key>`, with the key's own scale; `prefix` is what today's transformers leaves out of a released key."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            shape = tuple(value.shape)
            value.copy_(draw(f"{part}.{prefix}{key}", shape, 0, rule(key, shape)))
    return module.eval()


def parts(place):
    small_files(place)
    text = CLIPTextModel(CLIPTextConfig(**TEXT, attn_implementation="eager"))
    lacks = "" if next(iter(text.state_dict())).startswith("text_model.") else "text_model."
    return {
        "tokenizer": CLIPTokenizer.from_pretrained(place, pad_token="<|endoftext|>", model_max_length=77),
        "text_encoder": fill(text, "text_encoder", lacks),
        "unet": fill(UNet2DConditionModel(**UNET), "unet"),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def first_picture():
    """A picture to begin with: [1, 3, 16, 16] of eighths."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    planes = torch.stack([(x + 2 * y) % 9, (3 * x + y) % 9, (x * y) % 9])
    return planes[None].float() / 8


def picture(common, vaes, name, config, options):
    scheduler = {"DDIMScheduler": DDIMScheduler, "DDPMScheduler": DDPMScheduler, "PNDMScheduler": PNDMScheduler}[name](**config)
    start = options.get("strength")
    kind = StableDiffusionPipeline if start is None else StableDiffusionImg2ImgPipeline
    pipeline = kind(**common, vae=vaes[options.get("vae", "kl")], scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    seeds = options["seeds"]
    made = [torch.Generator().manual_seed(seed) for seed in (seeds if isinstance(seeds, list) else [seeds])]
    given = {"guidance_rescale": options.get("rescale", 0.0)} if start is None else {"image": first_picture(), "strength": start}
    if start is None:
        given.update(height=SIZE, width=SIZE)
    return pipeline(
        prompt=list(PROMPTS),
        negative_prompt=[options["negative"]] * len(PROMPTS) if "negative" in options else None,
        num_inference_steps=options["steps"],
        guidance_scale=options["guidance"],
        eta=options.get("eta", 0.0),
        generator=made if isinstance(seeds, list) else made[0],
        output_type="pt",
        **given,
    ).images


def pipelines():
    with tempfile.TemporaryDirectory() as place:
        common = parts(Path(place))
        vaes = {"kl": fill(AutoencoderKL(**KL), "vae"), "tiny": fill(AutoencoderTiny(**TINY), "tiny")}
        with torch.no_grad():
            images = {case: picture(common, vaes, *rest) for case, rest in CASES_OF.items()}
    tensors = {f"output.{case}": image.float().contiguous() for case, image in images.items()}
    for case, image in images.items():
        inside = ((image > 0) & (image < 1)).float().mean()
        print(f"{case}: {float(image.std()):.3f} deviation, {float(inside):.2f} not clamped")
    cases = {case: {"scheduler": {"_class_name": name, **config}, **options} for case, (name, config, options) in CASES_OF.items()}
    config = {
        "case": "pipelines",
        "prompts": PROMPTS,
        "merges": MERGES,
        "unet": UNET,
        "text_encoder": TEXT,
        "kl": KL,
        "tiny": TINY,
        "cases": cases,
    }
    target = folder("models")
    metadata = {"config": json.dumps(config, separators=(",", ":")), **versions()}
    (target / "pipelines.safetensors").write_bytes(serialise(tensors, metadata))
    (target / "pipelines.json").write_text(json.dumps({**config, "versions": versions()}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


CASES = {"pipelines": pipelines}
