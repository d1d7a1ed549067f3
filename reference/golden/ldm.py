"""Names of Stable Diffusion's weights in latent-diffusion's files, from diffusers' names."""

import re


def ldm_unet_key(key, layers=2):
    """Where latent-diffusion's UNet keeps diffusers' weight, with `layers` residual blocks a resolution; 2 in Stable Diffusion 1."""
    per = layers + 1
    for old, new in (("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"), ("conv_in", "input_blocks.0.0"),
                     ("conv_norm_out", "out.0"), ("conv_out", "out.2")):
        if key.startswith(old + "."):
            return new + key[len(old):]
    for old, new in (("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"), ("norm2", "out_layers.0"),
                     ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")):
        if "resnets" in key:
            key = key.replace(f".{old}.", f".{new}.")
    key = re.sub(r"^mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}", key).replace("mid_block.attentions.0", "middle_block.1")
    key = re.sub(r"^down_blocks\.(\d)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{per * int(m[1]) + per}.0.op", key)
    key = re.sub(r"^up_blocks\.(\d)\.upsamplers\.0", lambda m: f"output_blocks.{per * int(m[1]) + layers}.{2 if int(m[1]) else 1}", key)
    for side, name, first in (("down", "input", 1), ("up", "output", 0)):
        for part, place in (("resnets", 0), ("attentions", 1)):
            key = re.sub(rf"^{side}_blocks\.(\d)\.{part}\.(\d)", lambda m: f"{name}_blocks.{per * int(m[1]) + int(m[2]) + first}.{place}", key)
    return key


def ldm_vae_key(key, levels=4):
    """Where latent-diffusion's autoencoder of `levels` resolutions keeps diffusers' weight."""
    for old, new in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        if "attentions" in key:
            key = key.replace(f".{old}.", f".{new}.")
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = re.sub(r"down_blocks\.(\d)\.", r"down.\1.", key).replace("downsamplers.0", "downsample")
    key = re.sub(r"up_blocks\.(\d)\.", lambda m: f"up.{levels - 1 - int(m[1])}.", key).replace("upsamplers.0", "upsample")
    return key.replace("resnets", "block")
