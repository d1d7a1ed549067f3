"""torch.randn on the CPU: short draws (pairs in double precision), long ones (sixteen at a time), and draws one after the other."""

import torch

from .store import write

CASES_OF = {
    "short": (0, ((3,), (3,), (15,), (1,))),
    "exact": (42, ((16,), (4, 8))),
    "rest": (7, ((17,), (3, 31), (5,), (18,))),
    "latents": (1234, ((1, 4, 8, 8), (1, 4, 8, 8))),
    "wide_seed": (2**40 + 11, ((2, 9),)),
    "negative": (-5, ((20,),)),
}


def randn():
    tensors, config = {}, {}
    for name, (seed, shapes) in CASES_OF.items():
        generator = torch.Generator().manual_seed(seed)
        config[name] = {"seed": seed, "shapes": shapes}
        for i, shape in enumerate(shapes):
            tensors[f"{name}.{i}"] = torch.randn(shape, generator=generator)
    # Stable Diffusion's own shape, by samples: it has 16,384 values.
    picture = torch.randn((1, 4, 64, 64), generator=torch.Generator().manual_seed(0)).flatten()
    tensors["picture"] = picture[::257].contiguous()
    write("models", "torch_randn", {"draws": config, "picture": {"seed": 0, "shape": [1, 4, 64, 64], "stride": 257}}, tensors)


CASES = {"torch_randn": randn}
