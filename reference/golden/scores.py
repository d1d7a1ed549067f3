"""Scores of pictures for prompts from pixels to ranks, as ImageReward's `score`, `inference_rank` and its CLIP, BLIP and aesthetic scorers compute them, with small models.

Pictures are noise drawn by number (as in `preprocess.py`), weights are seeded by name and not stored, but for a small `ImageReward.pt` with the released
file's keys, written by `torch.save`. Everything is computed in float64.
"""

import json
import tempfile
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from . import imagereward
from .preprocess import picture
from .seeded import draw
from .store import folder, versions
from .tokenizers import BLIP, MERGES, PIECES, clip_vocabulary, small_files

PROMPTS = ("the cat and the dog, night sky", "a red picture of naive cats walking", "dog")
# Mode, (width, height)
PICTURES = (("RGB", (40, 31)), ("RGBA", (20, 33)), ("L", (16, 16)), ("P", (33, 50)), ("RGB", (16, 90)))
SIZE = 16
LENGTH = 35
COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def preprocess(size):
    """ImageReward's and CLIP's transform."""
    return Compose(
        [
            Resize(size, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(size),
            lambda image: image.convert("RGB"),
            ToTensor(),
            Normalize(*COLOURS),
        ]
    )


def pixels(size):
    return torch.stack([preprocess(size)(picture(mode, shape)) for mode, shape in PICTURES]).double()


def fill(module, prefix=""):
    """Seeded parameters; `prefix` is left out of the names that draw them."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            value.copy_(draw(key.removeprefix(prefix), tuple(value.shape)))
    return module.eval()


def rows(matrix):
    """Scores [pictures, prompts] as lists."""
    return [[float(f"{x:.9g}") for x in row] for row in matrix.tolist()]


def clip_scores():
    config = {
        "text_config": {
            "vocab_size": len(clip_vocabulary(MERGES)),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 77,
            "eos_token_id": 2,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIZE,
            "patch_size": 4,
        },
        "projection_dim": 24,
    }
    model = fill(CLIPModel(CLIPConfig(**config, attn_implementation="eager")).double())
    with tempfile.TemporaryDirectory() as place:
        small_files(Path(place))
        tokenizer = CLIPTokenizer.from_pretrained(place)
        ids = torch.tensor([tokenizer(p, padding="max_length", truncation=True, max_length=77)["input_ids"] for p in PROMPTS])
    with torch.no_grad():
        result = model(input_ids=ids, pixel_values=pixels(SIZE))
    unit = nn.functional.normalize
    scores = unit(result.image_embeds) @ unit(result.text_embeds).t()
    head = fill(imagereward.Head(24, [32, 16, 8, 4, 1]).double())
    with torch.no_grad():
        beauty = head(unit(result.image_embeds)).squeeze(1)
    return {"clip": {"model": config, "scores": rows(scores)}, "aesthetic": {"widths": [32, 16, 8, 4, 1], "scores": rows(beauty[:, None])}}


def blip_scores(target):
    config = imagereward.config(SIZE)
    config["vision"].update(num_heads=1, depth=1)
    vocabulary = 5 + len(PIECES) + len(BLIP)
    config["text"].update(vocab_size=vocabulary, max_position_embeddings=LENGTH + 5, num_hidden_layers=1)
    model = fill(imagereward.RewardModel(config).double(), "blip.")
    from transformers import BertTokenizer

    with tempfile.TemporaryDirectory() as place:
        small_files(Path(place))
        tokenizer = BertTokenizer.from_pretrained(place)
    tokenizer.add_special_tokens({"bos_token": BLIP[0]})
    tokenizer.add_special_tokens({"additional_special_tokens": [BLIP[1]]})
    texts = tokenizer(list(PROMPTS), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    ids, mask = texts.input_ids, texts.attention_mask
    # As BLIP's matching does, and ImageReward does not.
    encoded = ids.clone()
    encoded[:, 0] = tokenizer.additional_special_tokens_ids[0]
    images = pixels(SIZE)

    def every(score):
        """score(image, ids, mask) of every picture with every prompt, one at a time as the original."""
        with torch.no_grad():
            return torch.tensor(
                [[score(image[None], row[None], m[None]) for row, m in zip(ids, mask)] for image in images],
                dtype=torch.float64,
            )

    rewards = every(lambda image, row, m: model.score(image, row, m)["reward"])
    # `inference_rank`
    order = torch.argsort(rewards, dim=0, descending=True)
    ranks = torch.argsort(order, dim=0) + 1
    cosine = every(lambda image, row, m: (lambda r: r["image_features"] @ r["text_features"].t())(model.contrast(image, row, m)))
    with torch.no_grad():
        match = torch.tensor(
            [
                [model.match(image[None], row[None], m[None], torch.tensor([1]))["logits"].softmax(1)[0, 1] for row, m in zip(encoded, mask)]
                for image in images
            ],
            dtype=torch.float64,
        )
    released = {key: value.float() for key, value in model.state_dict().items() if not key.startswith(("blip.itm_head", "blip.temp"))}
    released["blip.text_encoder.embeddings.position_ids"] = torch.arange(LENGTH + 5)[None]
    torch.save(released, target / "ImageReward.pt")
    return {
        "imagereward": {"scores": rows(rewards), "ranks": ranks.tolist()},
        "blip": {"model": {"vision": config["vision"], "text": config["text"], "embed_dim": config["embed_dim"]}, "itc": rows(cosine), "itm": rows(match)},
    }


def scores():
    target = folder("refl")
    made = versions()
    found = clip_scores()
    # The older transformers, which ImageReward needs, stands for the newer one from here on.
    found.update(blip_scores(target))
    head = {
        "versions": {**made, "transformers for BLIP": versions()["transformers"]},
        "prompts": PROMPTS,
        "pictures": PICTURES,
        "size": SIZE,
        "merges": MERGES,
        "vocabulary": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES],
    }
    (target / "scores.json").write_text(json.dumps({**head, **found}, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")


CASES = {"scores": scores}
