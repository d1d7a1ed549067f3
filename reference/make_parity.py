"""Regenerates the golden files of full-size models: `python reference/make_parity.py [names…]`; without names, all of them.

A name is a group or one of its cases (`--list` prints them). Each group runs in a process of its own, in float64, and needs up to 17 GB; files go into
`packages/models/test/golden/parity/`.
"""

import os
import subprocess
import sys
from pathlib import Path

from make_golden import SETTINGS

GROUPS = {
    "autoencoders": ("taesd", "autoencoder_kl_encode", "autoencoder_kl_decode"),
    "clip": ("clip_vit_l_14",),
    "aesthetic": ("aesthetic_linear", "aesthetic_relu"),
    "blip": ("vit_l_16", "bert_med", "image_reward", "blip_itc", "blip_itm"),
    "unet": ("unet_sd1_32", "unet_sd1_8"),
}


def main(arguments):
    if arguments[:1] == ["--list"]:
        for group, names in GROUPS.items():
            print(f"{group}: {' '.join(names)}")
        return 0
    if arguments[:1] == ["--group"]:
        from golden import full

        full.ONLY.update(arguments[2:])
        full.GROUPS[arguments[1]]()
        return 0
    known = [*GROUPS, *(name for names in GROUPS.values() for name in names)]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"unknown name {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    here = Path(__file__).resolve()
    environment = {**os.environ, "PYTHONPATH": str(here.parent), **SETTINGS}
    for group, names in GROUPS.items():
        wanted = [name for name in names if not arguments or group in arguments or name in arguments]
        if wanted:
            subprocess.run([sys.executable, str(here), "--group", group, *wanted], check=True, env=environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
