"""transformers' CLIPTextModel at a small configuration, keys in the released form with the `text_model.` prefix."""

import torch
from torch.func import functional_call
from transformers import CLIPTextConfig, CLIPTextModel

from .store import differentiate, generator, integers, write
from .weights import halved, shapes, under, weights

PACKAGE = "models"
PREFIX = "text_model."

CONFIG = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 10,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "bos_token_id": 58,
    "eos_token_id": 59,
    "pad_token_id": 59,
}


def clip_text():
    name = "clip_text_tiny"
    model = CLIPTextModel(CLIPTextConfig(**CONFIG)).double().eval()
    found = shapes(model)
    # transformers 5 names the parameters without the prefix that released checkpoints have.
    prefix = "" if next(iter(found)).startswith(PREFIX) else PREFIX
    values, _ = weights({prefix + key: shape for key, shape in found.items()})
    ids = integers(generator(name), 1, 58, 3, 10)
    ids[:, 0] = CONFIG["bos_token_id"]
    for row, length in enumerate((9, 4, 6)):
        ids[row, length:] = CONFIG["eos_token_id"]

    def forward(i, p):
        result = functional_call(model, under(p, prefix), (), {"input_ids": i["input_ids"]})
        return {"last_hidden_state": result.last_hidden_state, "pooler_output": result.pooler_output.detach()}

    tensors = differentiate(name, {"input_ids": ids}, values, forward)
    write(PACKAGE, name, {"class": "CLIPTextModel", "model": CONFIG}, halved(tensors))


CASES = {"clip_text_tiny": clip_text}
