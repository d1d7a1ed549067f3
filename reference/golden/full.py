"""Full-size models on seeded weights, in float64: what `pnpm parity --full` compares with.

A case stores no weights and no inputs but ids: all follow from their names. Of activations it keeps samples, of every gradient by a parameter its norm, its
largest entry and a few others.
"""

import gc
import json
import resource
import time

import torch

from .seeded import fill, unit
from .store import folder, serialise, versions

SAMPLES = 2048
ENTRIES = 8

# ImageReward's example prompt, and a second text, as BERT's tokenizer has them, padded to 35.
PROMPT = [101, 1037, 4169, 1997, 2019, 4153, 2007, 8044, 1998, 5055, 1010, 2154, 2051, 1010, 2659, 5995, 2492, 3466, 102]
SECOND = [101, 1022, 2243, 1010, 13323, 7231, 17552, 1517, 4895, 2072, 1005, 2009, 1005, 1055, 102]

# The same prompt as CLIP's tokenizer has it.
CLIP_PROMPT = [49406, 320, 3086, 539, 550, 4918, 593, 6244, 537, 4337, 267, 575, 788, 267, 1042, 10350, 1570, 5436, 49407]


def padded(texts, length, padding):
    """Ids (texts, length) and their mask."""
    rows = [text + [padding] * (length - len(text)) for text in texts]
    masks = [[1] * len(text) + [0] * (length - len(text)) for text in texts]
    return torch.tensor(rows), torch.tensor(masks)


def sample(values, count=SAMPLES):
    """At most `count` entries, spread evenly: entry i is the one at i * size // count."""
    flat = values.detach().reshape(-1)
    count = min(count, flat.numel())
    return flat[torch.arange(count) * flat.numel() // count]


def entries(gradient):
    """Positions of the largest entry and of some others that are not zero."""
    flat = gradient.reshape(-1)
    places = torch.arange(min(flat.numel(), 1 << 16)) * flat.numel() // min(flat.numel(), 1 << 16)
    found = places[flat[places] != 0]
    if len(found) < ENTRIES:
        found = flat.nonzero().reshape(-1)
    if not len(found):
        return torch.zeros(ENTRIES, dtype=torch.int64)
    chosen = found[torch.arange(ENTRIES - 1) * len(found) // (ENTRIES - 1)]
    return torch.cat([flat.abs().argmax()[None], chosen])


def first(result):
    """The tensor of what a module gave."""
    while not isinstance(result, torch.Tensor):
        result = result[0]
    return result


# Cases to run; empty for all.
ONLY = set()


def record(name, model, inputs, ids, points, forward, backward=True):
    """Runs one case unless others are wanted. `inputs` are shapes of unit noise, `points` paths of modules whose results are kept, `forward(inputs)` gives outputs by name."""
    if ONLY and name not in ONLY:
        return
    start = time.perf_counter()
    drawn = {key: unit(f"{name}/input.{key}", shape) for key, shape in inputs.items()}
    for value in drawn.values():
        value.requires_grad_(backward)
    seen = {}
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _m, _a, result, path=path: seen.update({path: first(result)}))
        for path in points
    ]
    with torch.set_grad_enabled(backward):
        outputs = forward({**drawn, **ids})
    for hook in hooks:
        hook.remove()
    tensors = {f"input.{key}": value.to(torch.int32) for key, value in ids.items()}
    kept = [(f"point.{key}", seen[key]) for key in points] + [(f"output.{key}", value) for key, value in outputs.items()]
    described = {"case": name, "inputs": {key: list(shape) for key, shape in inputs.items()}, "points": list(points)}
    if backward:
        loss = sum((value * unit(f"{name}/cotangent.{key}", tuple(value.shape))).sum() for key, value in outputs.items())
        loss.backward()
        kept += [(f"gradient.{key}", value.grad) for key, value in drawn.items()]
        gradients = {key: value.grad for key, value in model.named_parameters()}
        described["parameters"] = [key for key, value in gradients.items() if value is not None]
        present = [gradients[key] for key in described["parameters"]]
        places = torch.stack([entries(gradient) for gradient in present])
        found = torch.stack([gradient.reshape(-1)[at] for gradient, at in zip(present, places)])
        tensors["parameters.places"] = places.to(torch.int32)
        tensors["parameters.entries"] = found.float()
        tensors["parameters.norms"] = torch.stack([gradient.norm() for gradient in present]).float()
        tensors["parameters.largest"] = torch.stack([gradient.abs().max() for gradient in present]).float()
        model.zero_grad(set_to_none=True)
    for key, value in kept:
        tensors[key] = sample(value).float()
        tensors[f"largest.{key}"] = value.detach().abs().max().float()
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name}: {key} is not finite in f32")
    path = folder("models") / "parity"
    path.mkdir(exist_ok=True)
    metadata = {"config": json.dumps(described, separators=(",", ":")), **versions()}
    (path / f"{name}.safetensors").write_bytes(serialise(tensors, metadata))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scale = {key: f"{tensors[f'largest.{key}'].item():.3g}" for key, _ in kept}
    print(f"{name}: {time.perf_counter() - start:.0f} s, peak {peak:.1f} GiB, largest {scale}", flush=True)
    del outputs, seen, drawn
    gc.collect()


def filled(model, branches=1):
    start = time.perf_counter()
    model = fill(model.double().eval(), branches=branches)
    print(f"weights of {type(model).__name__}: {time.perf_counter() - start:.0f} s", flush=True)
    return model


def autoencoders():
    """AutoencoderKL of Stable Diffusion 1 and TAESD, encoding and decoding."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    model = filled(AutoencoderTiny())
    # Of those layers that are in diffusers' sequence and in TAESD's own.
    points = ("encoder.layers.1", "encoder.layers.8", "encoder.layers.13", "decoder.layers.4", "decoder.layers.14")
    both = {"image": (1, 3, 128, 128), "latents": (1, 4, 16, 16)}

    def tiny(i):
        return {"latents": model.encode(i["image"]).latents, "image": model.decode(i["latents"]).sample}

    record("taesd", model, both, {}, points, tiny)

    vae = filled(
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
    )
    points = [f"encoder.down_blocks.{i}" for i in range(4)] + ["encoder.mid_block", "decoder.mid_block"]
    points += [f"decoder.up_blocks.{i}" for i in range(4)]

    def encode(i):
        distribution = vae.encode(i["image"]).latent_dist
        return {"mean": distribution.mean, "logvar": distribution.logvar}

    record("autoencoder_kl_encode", vae, {"image": (1, 3, 64, 64)}, {}, points[:5], encode)
    decoded = lambda i: {"image": vae.decode(i["latents"]).sample}
    record("autoencoder_kl_decode", vae, {"latents": (1, 4, 8, 8)}, {}, points[5:], decoded)


def clip():
    """Both towers of CLIP ViT-L/14 and their similarity."""
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "eos_token_id": 2}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=768, attn_implementation="eager")
    model = filled(CLIPModel(config))
    # OpenAI pads with 0; with eos_token_id 2 the largest id of a text is its end.
    ids, _ = padded([CLIP_PROMPT], 77, 0)
    points = [f"vision_model.encoder.layers.{i}" for i in (0, 11, 23)] + [f"text_model.encoder.layers.{i}" for i in (0, 5, 11)]

    def forward(i):
        image = model.get_image_features(i["pixels"]).pooler_output
        words = model.get_text_features(i["input_ids"]).pooler_output
        unit_image = image / image.norm(dim=-1, keepdim=True)
        unit_words = words / words.norm(dim=-1, keepdim=True)
        return {"image": image, "text": words, "logits": unit_image @ unit_words.t() * model.logit_scale.exp()}

    record("clip_vit_l_14", model, {"pixels": (1, 3, 224, 224)}, {"input_ids": ids}, points, forward)


def aesthetic():
    """The perceptrons of the improved aesthetic predictor, over embeddings brought to length 1."""
    from torch.nn.functional import normalize

    from .aesthetic import Perceptron

    for kind in ("linear", "relu"):
        model = filled(Perceptron(kind))

        def forward(i, model=model):
            return {"score": model(normalize(i["embedding"], dim=-1))}

        record(f"aesthetic_{kind}", model, {"embedding": (4, 768)}, {}, ["layers.0"], forward)


def unet():
    """The UNet of Stable Diffusion 1."""
    from diffusers import UNet2DConditionModel

    model = filled(UNet2DConditionModel(cross_attention_dim=768))
    points = ["conv_in", "time_embedding"] + [f"down_blocks.{i}" for i in range(4)] + ["mid_block"] + [f"up_blocks.{i}" for i in range(4)]

    def forward(i):
        return {"sample": model(i["sample"], i["timestep"], i["states"]).sample}

    for name, size, backward in (("unet_sd1_32", 32, False), ("unet_sd1_8", 8, True)):
        inputs = {"sample": (1, 4, size, size), "states": (1, 77, 768)}
        record(name, model, inputs, {"timestep": torch.tensor([501])}, points, forward, backward)


def blip():
    """ViT-L/16, BERT with cross-attention, the whole ImageReward, BLIP's contrastive and matching heads, all with the same weights."""
    from torch.nn.functional import normalize

    from .imagereward import MEAN, STD, RewardModel

    options = {
        "vision": {"image_size": 224, "patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16},
        "text": {
            "vocab_size": 30524,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
            "pad_token_id": 0,
            "encoder_width": 1024,
            "add_cross_attention": True,
        },
        "embed_dim": 256,
        "head": [1024, 128, 64, 16, 1],
    }
    # With whole branches the tokens of BERT's deep layers become alike (each norm after a sum halves what tells them apart), their self-attention learns nothing, and a
    # gradient of 3e-5 beside one of 9 is rounding: PyTorch's own f32 is 2e-3 from its float64 there.
    model = filled(RewardModel(options), branches=0.25)
    vision = model.blip.visual_encoder
    language = model.blip.text_encoder
    ids, mask = padded([PROMPT], 35, 0)
    texts = {"input_ids": ids, "attention_mask": mask}
    blocks = [f"blocks.{i}" for i in (0, 11, 23)]
    layers = [f"encoder.layer.{i}" for i in (0, 5, 11)]
    under = [f"blip.visual_encoder.{path}" for path in blocks] + [f"blip.text_encoder.{path}" for path in layers]
    image = {"image": (1, 3, 224, 224)}

    record("vit_l_16", vision, image, {}, ["patch_embed", *blocks], lambda i: {"tokens": vision(i["image"])})

    def states(i):
        seen = torch.ones(i["tokens"].shape[:-1], dtype=torch.long)
        arguments = {"encoder_hidden_states": i["tokens"], "encoder_attention_mask": seen, "return_dict": True}
        return {"states": language(i["input_ids"], attention_mask=i["attention_mask"], **arguments).last_hidden_state}

    record("bert_med", language, {"tokens": (1, 197, 1024)}, texts, ["embeddings", *layers], states)

    def reward(i):
        hidden = model.multimodal(model.image(i["image"]), i["input_ids"], i["attention_mask"])
        return {"features": hidden, "reward": (model.mlp(hidden) - MEAN) / STD}

    record("image_reward", model, image, texts, under, reward)

    pair = dict(zip(("input_ids", "attention_mask"), padded([PROMPT, SECOND], 35, 0)))

    def contrast(i):
        image_features = normalize(model.blip.vision_proj(model.image(i["image"])[:, 0, :]), dim=-1)
        text_features = normalize(model.blip.text_proj(model.text(i["input_ids"], i["attention_mask"])), dim=-1)
        logits = image_features @ text_features.t() / model.blip.temp
        return {"image_features": image_features, "text_features": text_features, "logits": logits}

    record("blip_itc", model, image, pair, under, contrast)

    def match(i):
        hidden = model.multimodal(model.image(i["image"]), i["input_ids"], i["attention_mask"])
        return {"logits": model.blip.itm_head(hidden)}

    record("blip_itm", model, image, texts, under, match)


GROUPS = {"autoencoders": autoencoders, "clip": clip, "aesthetic": aesthetic, "blip": blip, "unet": unet}
