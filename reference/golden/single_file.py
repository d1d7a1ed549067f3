"""Pictures of diffusers' Stable Diffusion pipeline from one file with latent-diffusion's names, and with LoRA files: the small model of `pipelines.py`.

Weights are seeded by name and not stored; `files` lists names and shapes of what the files hold, each tensor drawn under `draw`, or filled with `value`.
"""

import json
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from .ldm import ldm_unet_key, ldm_vae_key
from .pipelines import KL, PNDM, PROMPTS, SIZE, fill, parts
from .seeded import draw, rule
from .store import folder, serialise, versions

RANK, ALPHA = 2, 1.0
SCALES = {"kohya": 0.7, "diffusers": -0.5}
STEPS, GUIDANCE, SEED = 6, 3.0, 3

# The text encoder's attention is left out: diffusers 0.42 with transformers 5 loses kohya's adapters there.
TRANSFORMER = "down_blocks.0.attentions.0"
KOHYA = {
    "unet": (
        f"{TRANSFORMER}.transformer_blocks.0.attn1.to_q",
        f"{TRANSFORMER}.transformer_blocks.0.attn2.to_out.0",
        f"{TRANSFORMER}.transformer_blocks.0.ff.net.0.proj",
        f"{TRANSFORMER}.proj_in",
        "up_blocks.1.resnets.0.conv1",
    ),
    "te": ("text_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc2"),
}
DIFFUSERS = (f"{TRANSFORMER}.transformer_blocks.0.attn2.to_v", "mid_block.attentions.0.transformer_blocks.0.attn1.to_k", KOHYA["unet"][0])


def module_at(pipeline, path):
    """The layer of a path, whose text encoder may lack the released prefix."""
    for root, name in ((pipeline.unet, path), (pipeline.text_encoder, path), (pipeline.text_encoder, path.removeprefix("text_model."))):
        found = dict(root.named_modules()).get(name)
        if found is not None:
            return found
    raise KeyError(path)


def adapter(pipeline, path):
    """Shapes of an adapter's two matrices."""
    weight = module_at(pipeline, path).weight
    return [RANK, *weight.shape[1:]], [weight.shape[0], RANK, *([1, 1] if weight.dim() == 4 else [])]


def kohya_file(pipeline):
    rows = []
    for model, paths in KOHYA.items():
        for path in paths:
            name = f"lora_{model}_{path.replace('.', '_')}"
            down, up = adapter(pipeline, path)
            rows += [[f"{name}.lora_down.weight", down], [f"{name}.lora_up.weight", up], [f"{name}.alpha", [], ALPHA]]
    return rows


def diffusers_file(pipeline):
    rows = []
    for path in DIFFUSERS:
        down, up = adapter(pipeline, path)
        rows += [[f"unet.{path}.lora_A.weight", down], [f"unet.{path}.lora_B.weight", up]]
    return rows


def values(rows):
    return {name: torch.full(shape, rest[0]) if rest else draw(name, tuple(shape)) for name, shape, *rest in rows}


def single_file(pipeline):
    """Rows of the file's names and shapes, with the name that draws each weight, and its tensors."""
    rows, tensors = [], {}

    def add(prefix, rename, part, key, value, shape=None):
        tensors[prefix + rename(key)] = value.reshape(shape or value.shape).contiguous()
        rows.append([prefix + rename(key), list(shape or value.shape), f"{part}.{key}", list(value.shape)])

    for key, value in pipeline.unet.state_dict().items():
        add("model.diffusion_model.", lambda name: ldm_unet_key(name, 1), "unet", key, value)
    for key, value in pipeline.vae.state_dict().items():
        projection = ".attentions.0.to_" in key and value.dim() == 2
        add("first_stage_model.", lambda name: ldm_vae_key(name, 2), "vae", key, value, [*value.shape, 1, 1] if projection else None)
    for key, value in pipeline.text_encoder.state_dict().items():
        key = key if key.startswith("text_model.") else f"text_model.{key}"
        add("cond_stage_model.transformer.", lambda name: name, "text_encoder", key, value)
    return rows, tensors


def picture(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    made = torch.Generator().manual_seed(SEED)
    options = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "generator": made, "height": SIZE, "width": SIZE, "output_type": "pt"}
    with torch.no_grad():
        return pipeline(prompt=list(PROMPTS), **options).images.float().contiguous()


def golden():
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "tokenizer").mkdir()
        made = StableDiffusionPipeline(**parts(place / "tokenizer"), vae=fill(AutoencoderKL(**KL), "vae"), scheduler=PNDMScheduler(**PNDM))
        rows, tensors = single_file(made)
        for _, _, key, shape in rows:
            part = key.split(".")[0]
            scale = rule(key.removeprefix(f"{part}."), tuple(shape))
            own = draw(key, tuple(shape), 0, scale)
            found = tensors[next(row[0] for row in rows if row[2] == key)]
            assert torch.equal(own, found.reshape(shape)), key
        made.save_pretrained(place / "folder")
        save_file(tensors, place / "model.safetensors")
        whole = StableDiffusionPipeline.from_single_file(str(place / "model.safetensors"), config=str(place / "folder"), local_files_only=True)
        images = {"folder": picture(made), "single_file": picture(whole)}
        assert (images["folder"] - images["single_file"]).abs().max() < 1e-5
        files = {"kohya": kohya_file(made), "diffusers": diffusers_file(made)}
        for kind, listed in files.items():
            save_file(values(listed), place / f"{kind}.safetensors")
            made.load_lora_weights(str(place), weight_name=f"{kind}.safetensors", adapter_name=kind)
        made.set_adapters(["kohya"], [SCALES["kohya"]])
        images["kohya"] = picture(made)
        made.set_adapters(list(SCALES), list(SCALES.values()))
        images["both"] = picture(made)
        active = made.get_list_adapters()
        assert set(active["unet"]) == set(SCALES) and active["text_encoder"] == ["kohya"], active
    for case, image in images.items():
        print(f"{case}: {float((image - images['folder']).abs().max()):.3f} from the plain picture")
    config = {
        "case": "single_file",
        "options": {"steps": STEPS, "guidance": GUIDANCE, "seed": SEED},
        "scales": SCALES,
        "single": [row[:3] for row in rows],
        "files": files,
    }
    target = folder("models")
    tensors = {f"output.{case}": image for case, image in images.items()}
    metadata = {"config": json.dumps({"case": "single_file"}, separators=(",", ":")), **versions()}
    (target / "single_file.safetensors").write_bytes(serialise(tensors, metadata))
    (target / "single_file.json").write_text(json.dumps({**config, "versions": versions()}, separators=(",", ":")) + "\n", encoding="utf-8")


CASES = {"single_file": golden}
