"""Opens files that this project wrote with the libraries they are meant for: `python reference/check_files.py [FOLDER]`.

Adapters in kohya's, diffusers' and PEFT's form each change a UNet's output as merging them by hand does; plain tensors come back; the shipped models'
UNets and text encoders load, with no key missing or left over; a Stable Diffusion shaped folder draws the same picture. FOLDER keeps what was written (a temporary folder by default).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update({"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"})

import diffusers
import peft
import torch
import transformers
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = diffusers.StableDiffusionPipeline
failures = 0


def numbers(shape, first):
    return (((torch.arange(torch.Size(shape).numel()) * 7 + first) % 23) - 11).float().reshape(shape) / 16


def report(what, ok, detail=""):
    global failures
    failures += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {what} {detail}")


def small_unet(config):
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(**config).eval()


def run(unet):
    generator = torch.Generator().manual_seed(1)
    sample, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 3, 4, generator=generator)
    with torch.no_grad():
        return unet(sample, torch.tensor([7, 400]), text).sample


def close(what, found, wanted):
    error = ((found - wanted).abs().max() / wanted.abs().max()).item()
    report(what, error < 1e-5, f"relative difference {error:.1e}")


def check_adapters(folder):
    config = json.loads((folder / "unet.json").read_text())
    layers = json.loads((folder / "layers.json").read_text())

    def merged(alpha_of):
        unet = small_unet(config)
        with torch.no_grad():
            for i, layer in enumerate(layers):
                weight = unet.get_submodule(layer["path"]).weight
                down, up = numbers((layer["rank"], weight.shape[1]), i), numbers((weight.shape[0], layer["rank"]), i + 5)
                weight += alpha_of(layer) / layer["rank"] * up @ down
        return run(unet)

    plain, wanted, equal = run(small_unet(config)), merged(lambda layer: layer["alpha"]), merged(lambda layer: 3)
    for what, output in (("adapters", wanted), ("equal alphas", equal)):
        report(f"the {what} change the output", (output - plain).abs().max() > 0.01 * plain.abs().max())
    for form, output in (("kohya", equal), ("diffusers", wanted)):
        unet = small_unet(config)
        state, alphas, metadata = PIPELINE.lora_state_dict(folder / f"{form}.safetensors", return_lora_metadata=True)
        PIPELINE.load_lora_into_unet(state, network_alphas=alphas, unet=unet, metadata=metadata)
        close(f"{form} form in diffusers", run(unet), output)
    close("peft form in peft", run(peft.PeftModel.from_pretrained(small_unet(config), folder / "peft").eval()), wanted)
    with safe_open(folder / "kohya.safetensors", "pt") as file:
        report("kohya metadata", file.metadata() == {
            "ss_network_module": "networks.lora", "ss_network_dim": "2", "ss_network_alpha": "3", "ss_base_model_version": "sd_v1",
        })


def check_tensors(folder):
    with safe_open(folder / "tensors.safetensors", "pt") as file:
        report("metadata", file.metadata() == {"format": "pt", "note": "ünï"})
        for name, dtype in (("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16)):
            report(f"{name} tensor", torch.equal(file.get_tensor(name), numbers((3, 5), 2).to(dtype)))


def check_models():
    for index in sorted(ROOT.glob("packages/refl/assets/models/*/base/model_index.json")):
        name = index.parent.relative_to(ROOT / "packages/refl/assets/models")
        unet, info = diffusers.UNet2DConditionModel.from_pretrained(index.parent / "unet", output_loading_info=True)
        report(f"{name}/unet in diffusers", not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")),
               f"{sum(p.numel() for p in unet.parameters())} parameters")
        text, info = transformers.CLIPTextModel.from_pretrained(index.parent / "text_encoder", output_loading_info=True)
        report(f"{name}/text_encoder in transformers", not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")),
               f"{sum(p.numel() for p in text.parameters())} parameters")


def check_pictures(folder):
    """diffusers draws from a folder of ours the golden picture that it drew from its own models."""
    golden = ROOT / "packages/models/test/golden"
    config = json.loads((golden / "pipelines.json").read_text())
    options = config["cases"]["pndm"]
    pipeline = PIPELINE.from_pretrained(folder / "stable")
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(
        prompt=config["prompts"],
        negative_prompt=[options["negative"]] * len(config["prompts"]),
        num_inference_steps=options["steps"],
        guidance_scale=options["guidance"],
        generator=torch.Generator().manual_seed(options["seeds"]),
        output_type="pt",
    ).images
    with safe_open(golden / "pipelines.safetensors", "pt") as file:
        error = (found - file.get_tensor("output.pndm")).abs().max().item()
    report("the whole folder in diffusers draws its picture", error < 1e-3, f"largest difference {error:.1e}")


def main(folder):
    subprocess.run(["node", str(ROOT / "reference/write_files.mjs"), str(folder)], check=True)
    check_adapters(folder)
    check_tensors(folder)
    check_models()
    check_pictures(folder)
    print(f"{failures} failures")
    return 1 if failures else 0


if len(sys.argv) > 1:
    sys.exit(main(Path(sys.argv[1]).resolve()))
with tempfile.TemporaryDirectory() as name:
    sys.exit(main(Path(name)))
