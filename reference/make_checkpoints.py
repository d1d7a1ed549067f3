"""Writes the small checkpoint files that the readers are tested with: `python reference/make_checkpoints.py`.

They go to `packages/models/test/golden/checkpoints/`, with `expected.json`: for each file its tensors in torch's own reading (dtype, shape, values),
or why it has to be refused.
"""

import collections
import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import diffusers
import numpy as np
import peft
import torch
from diffusers.loaders import single_file_utils
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from golden.ldm import ldm_unet_key, ldm_vae_key
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent.parent / "packages/models/test/golden/checkpoints"
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}
ORDINARY = list(NAMES)[:10]
LORA_ODD = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
LORA_UNET = {
    "sample_size": 8, "block_out_channels": (4, 8), "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": 4, "norm_num_groups": 2, "attention_head_dim": 2,
}


def numbers(shape, dtype=torch.float32, first=0):
    """Small integers, exact in every dtype."""
    count = int(np.prod(shape))
    values = (torch.arange(count) * 7 + first) % 23 - (0 if dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64) else 11)
    return (values > 0 if dtype == torch.bool else values.to(dtype)).reshape(shape)


def types(dtypes=ORDINARY):
    return {NAMES[dtype].lower(): numbers((3, i % 4 + 1), dtype, i) for i, dtype in enumerate(dtypes)}


def views():
    base = numbers((4, 6))
    image = numbers((2, 3, 4, 5), torch.float16)
    return {
        "base": base,
        "same": base,
        "row": base[2],
        "columns": base[:, 1:4],
        "transposed": base.t(),
        "every_other": base[::2, ::3],
        "repeated": numbers((1, 5), torch.int64).expand(3, 5),
        "channels_last": image.contiguous(memory_format=torch.channels_last),
        "permuted": image.permute(3, 1, 0, 2)[1:],
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.5),
    }


def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(numbers(parameter.shape, first=i))
    return net


def wrapped():
    state = collections.OrderedDict((f"module.{key}", value) for key, value in model().state_dict().items())
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": numbers((4, 3))}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    return {
        "epoch": 3, "global_step": 2**40, "pytorch-lightning_version": "1.4.2", "state_dict": state, "optimizer_states": [optimizer],
        "best": np.float64(0.25), "callbacks": collections.defaultdict(dict), "device": torch.device("cpu"), "size": torch.Size([1, 2]), "hyper": None,
    }


def rezip(source, target, folder, compression, zip64=False):
    """The same archive under another folder, otherwise compressed, with ZIP64 fields throughout."""
    limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 0 if zip64 else zipfile.ZIP64_LIMIT
    try:
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
            for info in old.infolist():
                entry = zipfile.ZipInfo(folder + "/" + info.filename.split("/", 1)[1])
                entry.compress_type = compression
                with new.open(entry, "w", force_zip64=zip64) as file:
                    file.write(old.read(info))
    finally:
        zipfile.ZIP64_LIMIT = limit


class Command:
    def __reduce__(self):
        return (os.system, ("true",))


def describe(tensors):
    result = {}
    for name, tensor in tensors.items():
        if torch.is_tensor(tensor):
            result[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "values": tensor.detach().to(torch.float64).flatten().tolist()}
    return result


def ldm_names():
    """Names of Stable Diffusion 1 in one file beside diffusers' own, by diffusers' conversion; shapes where the conversion changes them."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(cross_attention_dim=768)
        vae = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        )
    tables = (
        (unet, "model.diffusion_model.", ldm_unet_key, single_file_utils.convert_ldm_unet_checkpoint),
        (vae, "first_stage_model.", ldm_vae_key, single_file_utils.convert_ldm_vae_checkpoint),
    )
    lines = []
    for model, prefix, rename, convert in tables:
        own = model.state_dict()
        old = {}
        for key, value in own.items():
            projection = re.search(r"mid_block\.attentions\.0\.to_.*weight", key) and model is vae
            shape = [*value.shape, 1, 1] if projection else value.shape
            old[prefix + rename(key)] = torch.empty(shape, device="meta")
        names = {id(value): name for name, value in old.items()}
        found = convert(old, dict(model.config))
        assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in own.items()}
        for key, value in found.items():
            source = value if id(value) in names else value._base
            lines.append(f"{names[id(source)]}\t{key}\t{'x'.join(map(str, source.shape))}\t{'x'.join(map(str, value.shape))}")
    return "\n".join(sorted(lines)) + "\n"


def lora():
    """Adapters of rank 2 on half of a small UNet's attention, rank 3 on one layer, as diffusers saves them and as it converts them for kohya."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(**LORA_UNET)
    config = peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=["attn1.to_q", "attn2.to_k", "to_out.0"], rank_pattern={"^" + LORA_ODD: 3}, alpha_pattern={"^" + LORA_ODD: 5},
    )
    unet.add_adapter(config)
    state = peft.get_peft_model_state_dict(unet)
    state = {key: numbers(value.shape, first=i) / 8 for i, (key, value) in enumerate(sorted(state.items()))}
    peft.set_peft_model_state_dict(unet, state)
    diffusers.StableDiffusionPipeline.save_lora_weights(
        FOLDER, unet_lora_layers=state, weight_name="lora_diffusers.safetensors", unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
    )
    kohya = convert_state_dict_to_kohya({f"unet.{key}": value for key, value in state.items()})
    for key in list(kohya):
        if key.endswith(".alpha"):
            kohya[key] = torch.tensor(5.0 if key == f"lora_unet_{LORA_ODD.replace('.', '_')}.alpha" else 3.0)
    save_file(kohya, FOLDER / "lora_kohya.safetensors")
    layers = {}
    for key, value in state.items():
        path, part = key.removesuffix(".weight").rsplit(".", 1)
        layer = layers.setdefault(path, {"alpha": 5 if path == LORA_ODD else 3})
        layer["down" if part == "lora_A" else "up"] = {"shape": list(value.shape), "values": value.flatten().tolist()}
    return layers


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expected = {}

    def save(name, value, tensors=None, **options):
        torch.save(value, FOLDER / name, **options)
        torch.load(FOLDER / name, weights_only=False)
        expected[name] = {"tensors": describe(value if tensors is None else tensors)}

    save("types.pt", types())
    save("types_new.pt", types(list(NAMES)))
    save("views.pt", views())
    save("state_dict.pt", model().state_dict())
    save("parameters.pt", collections.OrderedDict(model().named_parameters()))
    save("wrapped.ckpt", wrapped(), model().state_dict())
    save("protocol4.bin", types(), pickle_protocol=4)
    old = {"_use_new_zipfile_serialization": False}
    save("legacy_types.pth", types(), **old)
    save("legacy_views.pth", views(), **old)
    save("legacy_wrapped.ckpt", wrapped(), model().state_dict(), **old)
    rezip(FOLDER / "types.pt", FOLDER / "deflated.pt", "another name", zipfile.ZIP_DEFLATED)
    rezip(FOLDER / "views.pt", FOLDER / "zip64.pt", "archive", zipfile.ZIP_STORED, zip64=True)
    expected["deflated.pt"], expected["zip64.pt"] = expected["types.pt"], expected["views.pt"]
    torch.jit.save(torch.jit.script(model()), FOLDER / "script.pt")
    expected["script.pt"] = {"tensors": describe(model().state_dict())}

    save_file(types(list(NAMES)), FOLDER / "types.safetensors", {"format": "pt"})
    expected["types.safetensors"] = {"tensors": describe(types(list(NAMES)))}
    (FOLDER / "sharded").mkdir()
    save_torch_state_dict(types(), FOLDER / "sharded", max_shard_size=80)
    expected["sharded/model.safetensors.index.json"] = {"tensors": describe(types())}

    def refuse(name, value, why, **options):
        torch.save(value, FOLDER / name, **options)
        expected[name] = {"refused": why}

    refuse("command.pt", {"weight": numbers((2,)), "x": Command()}, "posix.system")
    refuse("legacy_command.pt", {"weight": numbers((2,)), "x": Command()}, "posix.system", **old)
    refuse("module.pt", model(), "torch.nn.modules.container.Sequential")
    refuse("complex.pt", {"weight": torch.zeros(2, dtype=torch.complex64)}, "ComplexFloatStorage")
    refuse("float8.pt", {"weight": torch.zeros(2, dtype=torch.float8_e4m3fn)}, "float8_e4m3fn")
    refuse("conjugate.pt", {"weight": torch.zeros(2, dtype=torch.complex64).conj().imag}, "negated")
    refuse("list.pt", [numbers((2,))], "no dict")
    save_file({"weight": torch.zeros(2, dtype=torch.float8_e4m3fn)}, FOLDER / "float8.safetensors")
    expected["float8.safetensors"] = {"refused": "fewer than 16 bits"}

    (FOLDER / "lora.json").write_text(json.dumps({"unet": LORA_UNET, "layers": lora()}, separators=(",", ":")) + "\n")
    (FOLDER / "ldm_names.tsv").write_text(ldm_names())
    (FOLDER / "expected.json").write_text(json.dumps(expected, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    for file in FOLDER.rglob("*.*"):
        file.chmod(0o644)
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files)} bytes")


main()
