"""CLIP under OpenAI's names: a TorchScript archive of half-precision weights, as `ViT-L-14.pt` is one, with features of both towers.

The layers are PyTorch's own (`nn.MultiheadAttention` above all), put together as the published description of the files has them; weights are seeded by name.
"""

import torch
from torch import nn

from .store import folder, generator, integers, normal, rounded, write
from .weights import draw, rule

WIDTHS = {"vision": 128, "text": 64}
LAYERS = {"vision": 1, "text": 2}
PATCH, SIZE, WORDS, POSITIONS, FEATURES = 4, 12, 60, 10, 24


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc, self.gelu, self.c_proj = nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.ln_1, self.mlp, self.ln_2 = nn.LayerNorm(width), MLP(width), nn.LayerNorm(width)

    def forward(self, x, causal: bool):
        count = x.shape[1]
        mask = torch.full((count, count), float("-inf"), dtype=x.dtype).triu(1) if causal else torch.zeros(count, count, dtype=x.dtype)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, kind, causal):
        super().__init__()
        self.causal = causal
        self.resblocks = nn.ModuleList([Block(WIDTHS[kind]) for _ in range(LAYERS[kind])])

    def forward(self, x):
        for block in self.resblocks:
            x = block(x, self.causal)
        return x


class Visual(nn.Module):
    def __init__(self):
        super().__init__()
        width = WIDTHS["vision"]
        self.conv1 = nn.Conv2d(3, width, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((SIZE // PATCH) ** 2 + 1, width))
        self.ln_pre, self.transformer, self.ln_post = nn.LayerNorm(width), Transformer("vision", False), nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, FEATURES))

    def forward(self, pixels):
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self):
        super().__init__()
        width = WIDTHS["text"]
        self.visual, self.transformer = Visual(), Transformer("text", True)
        self.token_embedding, self.ln_final = nn.Embedding(WORDS, width), nn.LayerNorm(width)
        self.positional_embedding = nn.Parameter(torch.zeros(POSITIONS, width))
        self.text_projection = nn.Parameter(torch.zeros(width, FEATURES))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        for name, value in (("input_resolution", SIZE), ("context_length", POSITIONS), ("vocab_size", WORDS)):
            self.register_buffer(name, torch.tensor(value))

    def texts(self, ids):
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding)
        return self.ln_final(x)[torch.arange(x.shape[0]), ids.argmax(-1)] @ self.text_projection

    def forward(self, pixels, ids):
        return self.visual(pixels), self.texts(ids)


def openai_clip():
    model = CLIP().double().eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(draw(key, tuple(value.shape), **rule(key, tuple(value.shape))))
            assert torch.equal(value.half().double(), value), key
    rng = generator("openai_clip")
    ids = integers(rng, 1, 58, 3, POSITIONS)
    for row, length in enumerate((9, 4, 6)):
        ids[row, length] = 59
        ids[row, length + 1 :] = 0
    pixels = normal(rng, 2, 3, SIZE, SIZE)
    with torch.no_grad():
        image, text = model(pixels, ids)
    tensors = {"input.pixels": pixels, "input.input_ids": ids, "output.image_features": image, "output.text_features": text}
    sizes = {"vision": WIDTHS["vision"], "text": WIDTHS["text"], "layers": LAYERS, "heads": [2, 1]}
    write("models", "openai_clip", {"class": "CLIP", "model": sizes}, {key: rounded(value) for key, value in tensors.items()})
    path = folder("models") / "openai_clip.pt"
    torch.jit.save(torch.jit.script(model.half()), path)
    path.chmod(0o644)


CASES = {"openai_clip": openai_clip}
