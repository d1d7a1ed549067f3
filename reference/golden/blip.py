"""The reward model at a small size: reward, contrastive features and matching head, with gradients."""

import torch
from torch.func import functional_call

from .imagereward import RewardModel, config
from .store import differentiate, generator, integers, normal, write
from .weights import halved, shapes, weights

PACKAGE = "models"
LENGTHS = (7, 4, 5)

# Keys outside the released reward checkpoint that BLIP's pre-training has, and the reverse.
PAIRING = ("blip.itm_head.", "blip.temp")
SCORING = ("mlp.",)

# Near BLIP's 0.07 and exact in f16.
TEMPERATURE = 9 / 128


def texts(rng, options, first):
    """Padded ids and their mask: (3, 7)."""
    ids = integers(rng, 2, 58, len(LENGTHS), max(LENGTHS))
    mask = (torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]).to(torch.int64)
    ids[:, 0] = options[first]
    return ids * mask, mask


def case(name, task, first="cls_token_id", labels=None):
    options = config(16)
    model = RewardModel(options).double().eval()
    absent = PAIRING if task == "score" else SCORING
    values, _ = weights({key: shape for key, shape in shapes(model).items() if not key.startswith(absent)})
    if "blip.temp" in values:
        values["blip.temp"] = torch.tensor(TEMPERATURE, dtype=torch.float64)
    rng = generator(name)
    ids, mask = texts(rng, options, first)
    inputs = {"image": normal(rng, 3, 3, 16, 16), "input_ids": ids, "attention_mask": mask}
    if labels is not None:
        inputs["labels"] = torch.tensor(labels)

    def forward(i, p):
        return functional_call(model, p, (task, *i.values()))

    tensors = halved(differentiate(name, inputs, values, forward))
    write(PACKAGE, name, {"class": "ImageReward", "task": task, "model": options}, tensors)


CASES = {
    "blip_reward_tiny": lambda: case("blip_reward_tiny", "score"),
    "blip_itc_tiny": lambda: case("blip_itc_tiny", "contrast"),
    "blip_itm_tiny": lambda: case("blip_itm_tiny", "match", "enc_token_id", (1, 0, 1)),
}
