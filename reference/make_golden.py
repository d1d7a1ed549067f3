"""Regenerates the golden files: `python reference/make_golden.py [names…]`; without names, all of them.

A name is a case of the table printed by `--list`. Each writes one or several files into `packages/*/test/golden/`.
"""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

# Case -> module. ImageReward's code needs an older transformers than diffusers does, hence one process a module.
MODULES = {
    "layers": ("mlp", "conv2d", "norms", "cross_entropy", "softmax", "rearrangements"),
    "attention": ("attention", "attention_projected"),
    "resample": ("resample",),
    "pointwise": ("pointwise",),
    "optimisers": ("optimisers", "clip_grad_norm"),
    "schedulers": ("schedulers", "scheduler_runs", "guidance"),
    "tokenizers": ("tokenizers",),
    "aesthetic": ("aesthetic",),
    "scores": ("scores",),
    "preprocess": ("preprocess",),
    "random_numbers": ("torch_randn",),
    "unet": ("unet_tiny", "unet_nomid", "unet_emoji"),
    "clip_text": ("clip_text_tiny",),
    "clip": ("clip_tiny", "clip_tiny_legacy"),
    "openai_clip": ("openai_clip",),
    "autoencoders": ("autoencoder_kl_tiny", "autoencoder_tiny_tiny"),
    "blip": ("blip_reward_tiny", "blip_itc_tiny", "blip_itm_tiny"),
    "pipelines": ("pipelines",),
    "single_file": ("single_file",),
    "training": ("training_reward", "training_refl"),
    "training_latents": ("training_refl_latents",),
    "chain": ("chain_tiny_sample", "chain_tiny_epsilon", "chain_tiny_v_prediction"),
}


SETTINGS = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}


def run_module(module, names):
    """Runs cases of one module in this process."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    cases = importlib.import_module(f"golden.{module}").CASES
    for name in names:
        start = time.perf_counter()
        cases[name]()
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)


def main(arguments):
    if arguments[:1] == ["--list"]:
        for module, names in MODULES.items():
            print(f"{module}: {' '.join(names)}")
        return 0
    if arguments[:1] == ["--module"]:
        run_module(arguments[1], arguments[2:])
        return 0
    known = [name for names in MODULES.values() for name in names]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"unknown case {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    here = Path(__file__).resolve()
    environment = {**os.environ, "PYTHONPATH": str(here.parent), **SETTINGS}
    for module, names in MODULES.items():
        wanted = [name for name in names if not arguments or name in arguments]
        if wanted:
            subprocess.run([sys.executable, str(here), "--module", module, *wanted], check=True, env=environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
