"""ImageReward's own BLIP code at small sizes: imports around the package's start-up, and the reward model's modules."""

import functools
import importlib
import importlib.util
import sys
import types
from pathlib import Path

import torch
from torch import nn

LEGACY = Path(sys.prefix) / "legacy"
REPLACED = ("transformers", "tokenizers", "huggingface_hub")

MEAN = 0.16717362830052426
STD = 1.0333394966054072


@functools.cache
def import_blip():
    """The modules `vit` and `med` of the package, without its `__init__` (which imports data sets and downloads).

    They need an older transformers, which stands in a folder of its own; whatever was imported before keeps the newer.
    """
    for name in [name for name in sys.modules if name.split(".")[0] in REPLACED]:
        del sys.modules[name]
    sys.path.insert(0, str(LEGACY))
    root = Path(importlib.util.find_spec("ImageReward").origin).parent
    for name in ("ImageReward", "ImageReward.models", "ImageReward.models.BLIP"):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    return tuple(importlib.import_module(f"ImageReward.models.BLIP.{name}") for name in ("vit", "med"))


def config(image_size):
    """The small configuration: vision, text and head; the file names say the same in the released model's terms."""
    return {
        "vision": {"image_size": image_size, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4},
        "text": {
            "vocab_size": 60,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 12,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
            "pad_token_id": 0,
            "encoder_width": 32,
            "add_cross_attention": True,
        },
        "embed_dim": 16,
        "head": [32, 16, 8, 4, 1],
        "mean": MEAN,
        "std": STD,
        "mask_value": -10000,
        "enc_token_id": 59,
        "cls_token_id": 1,
    }


class Head(nn.Module):
    """ImageReward's head with other widths: five linear layers, dropouts at 1, 3 and 5, no activation."""

    def __init__(self, width, widths):
        super().__init__()
        sizes = [width, *widths]
        linear = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        self.layers = nn.Sequential(
            linear[0], nn.Dropout(0.2), linear[1], nn.Dropout(0.2), linear[2], nn.Dropout(0.1), linear[3], linear[4]
        )

    def forward(self, features):
        return self.layers(features)


class RewardModel(nn.Module):
    """BLIP's encoders, projections and matching head under `blip`, the reward head under `mlp`."""

    def __init__(self, options):
        super().__init__()
        vit, med = import_blip()
        vision, text = options["vision"], options["text"]
        self.blip = nn.Module()
        self.blip.visual_encoder = vit.VisionTransformer(
            img_size=vision["image_size"],
            patch_size=vision["patch_size"],
            embed_dim=vision["embed_dim"],
            depth=vision["depth"],
            num_heads=vision["num_heads"],
        )
        self.blip.text_encoder = med.BertModel(med.BertConfig(**text), add_pooling_layer=False)
        self.blip.vision_proj = nn.Linear(vision["embed_dim"], options["embed_dim"])
        self.blip.text_proj = nn.Linear(text["hidden_size"], options["embed_dim"])
        self.blip.itm_head = nn.Linear(text["hidden_size"], 2)
        self.blip.temp = nn.Parameter(torch.tensor(0.07))
        self.mlp = Head(text["hidden_size"], options["head"])

    def image(self, image):
        return self.blip.visual_encoder(image)

    def multimodal(self, embeds, ids, mask):
        """The first token's last hidden state, the text looking at the image: (batch, hidden)."""
        seen = torch.ones(embeds.shape[:-1], dtype=torch.long)
        result = self.blip.text_encoder(
            ids, attention_mask=mask, encoder_hidden_states=embeds, encoder_attention_mask=seen, return_dict=True
        )
        return result.last_hidden_state[:, 0, :]

    def text(self, ids, mask):
        """The first token's last hidden state without cross-attention: (batch, hidden)."""
        result = self.blip.text_encoder(ids, attention_mask=mask, return_dict=True, mode="text")
        return result.last_hidden_state[:, 0, :]

    def forward(self, task, *arguments):
        """One entry for all tasks, so that parameters can be replaced by `functional_call`."""
        return getattr(self, task)(*arguments)

    def score(self, image, ids, mask):
        embeds = self.image(image)
        hidden = self.multimodal(embeds, ids, mask)
        raw = self.mlp(hidden)
        return {"raw": raw, "reward": (raw - MEAN) / STD, "image_embeds": embeds.detach(), "hidden": hidden.detach()}

    def contrast(self, image, ids, mask):
        """Image-text contrastive loss within the batch, pair i with pair i."""
        image_features = nn.functional.normalize(self.blip.vision_proj(self.image(image)[:, 0, :]), dim=-1)
        text_features = nn.functional.normalize(self.blip.text_proj(self.text(ids, mask)), dim=-1)
        logits = image_features @ text_features.t() / self.blip.temp
        target = torch.arange(len(image))
        cross_entropy = nn.functional.cross_entropy
        loss = (cross_entropy(logits, target) + cross_entropy(logits.t(), target)) / 2
        return {
            "image_features": image_features,
            "text_features": text_features,
            "logits": logits.detach(),
            "loss": loss,
        }

    def match(self, image, ids, mask, labels):
        """Image-text matching: two logits from the first token, label 1 for a true pair."""
        logits = self.blip.itm_head(self.multimodal(self.image(image), ids, mask))
        return {"logits": logits, "loss": nn.functional.cross_entropy(logits, labels)}
