"""diffusers' AutoencoderKL and AutoencoderTiny at small configurations: encoding and decoding with all gradients. Weights are seeded, not stored."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch.func import functional_call

from .seeded import weights
from .store import differentiate, generator, normal, write
from .weights import shapes

PACKAGE = "models"

KL = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"),
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 16,
    "scaling_factor": 0.18215,
}

TINY = {
    "encoder_block_out_channels": (8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8),
    "num_encoder_blocks": (1, 2, 1),
    "num_decoder_blocks": (2, 1, 1),
    "latent_channels": 4,
}


def unstored(tensors):
    """Without the weights, which follow from their names."""
    return {key: value for key, value in tensors.items() if not key.startswith("param.")}


class Both(torch.nn.Module):
    """Encoding and decoding as one call, so that parameters can be replaced by `functional_call`."""

    def __init__(self, model, moments):
        super().__init__()
        self.model = model
        self.moments = moments

    def forward(self, image, latents):
        encoded = self.model.encode(image)
        decoded = {"image": self.model.decode(latents).sample}
        if not self.moments:
            return {"latents": encoded.latents, **decoded}
        distribution = encoded.latent_dist
        return {"mean": distribution.mean, "logvar": distribution.logvar, **decoded}


def case(name, model, config, moments):
    both = Both(model.double().eval(), moments)
    values = weights(shapes(model))
    rng = generator(name)
    inputs = {"image": normal(rng, 2, 3, 16, 24), "latents": normal(rng, 2, 4, 4, 6)}

    def forward(i, p):
        replaced = {f"model.{key}": value for key, value in p.items()}
        return functional_call(both, replaced, (i["image"], i["latents"]))

    tensors = differentiate(name, inputs, values, forward)
    keys = [[key, list(value.shape)] for key, value in values.items()]
    described = {"class": type(model).__name__, "model": config, "weights": "seeded", "keys": keys}
    write(PACKAGE, name, described, unstored(tensors))


CASES = {
    "autoencoder_kl_tiny": lambda: case("autoencoder_kl_tiny", AutoencoderKL(**KL), KL, True),
    "autoencoder_tiny_tiny": lambda: case("autoencoder_tiny_tiny", AutoencoderTiny(**TINY), TINY, False),
}
