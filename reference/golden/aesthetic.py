"""Aesthetic scores of real CLIP embeddings by the released predictors; both are in the shared data."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .store import folder, versions

DATA = Path(os.environ.get("REFL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "aesthetic"
WIDTHS = (768, 1024, 128, 64, 16, 1)
DROPOUTS = (0.2, 0.2, 0.1)
FILES = {
    "sac+logos+ava1-l14-linearMSE.pth": "linear",
    "ava+logos-l14-reluMSE.pth": "relu",
    "sa_0_4_vit_l_14_linear.pth": "line",
}


class Perceptron(nn.Module):
    def __init__(self, kind):
        super().__init__()
        layers = []
        for i, (a, b) in enumerate(zip(WIDTHS, WIDTHS[1:])):
            layers.append(nn.Linear(a, b))
            if kind == "relu" and b > 1:
                layers.append(nn.ReLU())
            if i < len(DROPOUTS):
                layers.append(nn.Dropout(DROPOUTS[i]))
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


def scores(file, kind, embeddings):
    state = torch.load(DATA / file, map_location="cpu", weights_only=True)
    model = nn.Linear(WIDTHS[0], 1) if kind == "line" else Perceptron(kind)
    model.load_state_dict(state)
    with torch.no_grad():
        values = model.double().eval()(embeddings / embeddings.norm(dim=1, keepdim=True))
    return [float(f"{x:.9g}") for x in values.flatten().tolist()]


def aesthetic():
    if not DATA.is_dir():
        print(f"no shared data at {DATA}: the scores stay as they are")
        return
    rows = [np.load(DATA / f"embeddings/rating{i}.npy").reshape(-1)[:768] for i in range(10)]
    embeddings = torch.from_numpy(np.stack(rows).astype(np.float64))
    document = {"versions": versions(), "scores": {file: scores(file, kind, embeddings) for file, kind in FILES.items()}}
    (folder("models") / "aesthetic.json").write_text(json.dumps(document, indent=1) + "\n")


CASES = {"aesthetic": aesthetic}
