"""Regenerates the golden files of full-size models: `python reference/make_parity.py [groups…]`; without groups, all of them.

Groups are autoencoders, clip, blip and unet; each runs in a process of its own, in float64, and needs up to 17 GB. They write into
`packages/models/test/golden/parity/`.
"""

import os
import subprocess
import sys
from pathlib import Path

from make_golden import SETTINGS

GROUPS = ("autoencoders", "clip", "blip", "unet")


def main(arguments):
    if arguments[:1] == ["--group"]:
        from golden.full import GROUPS as groups

        groups[arguments[1]]()
        return 0
    unknown = [name for name in arguments if name not in GROUPS]
    if unknown:
        print(f"unknown group {', '.join(unknown)}; known: {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    here = Path(__file__).resolve()
    environment = {**os.environ, "PYTHONPATH": str(here.parent), **SETTINGS}
    for name in arguments or GROUPS:
        subprocess.run([sys.executable, str(here), "--group", name], check=True, env=environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
