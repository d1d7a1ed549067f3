"""transformers' CLIPModel at a small configuration: features of both towers and their similarities with all gradients. Weights are seeded, not stored."""

import torch
from torch.func import functional_call
from transformers import CLIPConfig, CLIPModel

from .autoencoders import unstored
from .clip_text import CONFIG as TEXT
from .seeded import weights
from .store import differentiate, generator, integers, normal, write
from .weights import shapes

PACKAGE = "models"

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 4,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
}


class Towers(torch.nn.Module):
    """Tokens, features and similarities as one call, so that parameters can be replaced by `functional_call`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels, ids):
        result = self.model(input_ids=ids, pixel_values=pixels)
        return {
            "image_tokens": result.vision_model_output.last_hidden_state.detach(),
            "image_features": result.image_embeds.detach(),
            "text_features": result.text_embeds.detach(),
            "logits": result.logits_per_image,
        }


def case(name, eos):
    """`eos` 59 is found as such; 2 is the id of old configs, where the largest id of a text is its end."""
    config = {"text_config": {**TEXT, "eos_token_id": eos}, "vision_config": VISION, "projection_dim": 16}
    model = CLIPModel(CLIPConfig(**config, attn_implementation="eager")).double().eval()
    towers = Towers(model)
    values = weights(shapes(model))
    rng = generator(name)
    ids = integers(rng, 1, 58, 3, 10)
    for row, length in enumerate((9, 4, 6)):
        ids[row, length] = 59
        ids[row, length + 1 :] = 0 if eos == 2 else 59
    inputs = {"pixels": normal(rng, 2, 3, 12, 12), "input_ids": ids}

    def forward(i, p):
        return functional_call(towers, {f"model.{key}": value for key, value in p.items()}, (i["pixels"], i["input_ids"]))

    tensors = differentiate(name, inputs, values, forward)
    keys = [[key, list(value.shape)] for key, value in values.items()]
    write(PACKAGE, name, {"class": "CLIPModel", "model": config, "weights": "seeded", "keys": keys}, unstored(tensors))


CASES = {"clip_tiny": lambda: case("clip_tiny", 59), "clip_tiny_legacy": lambda: case("clip_tiny_legacy", 2)}
