"""Loss curves of 100 training steps: a reward model on ranked pictures, and a UNet by ReFL, with PyTorch's autograd, clipping and AdamW.

Models are those of diffusers, transformers and ImageReward at small sizes, weights seeded by part and name. Data order, noise, times, graded steps and
prompts are functions of the seed (`streams.py`), pictures of their number, so that `packages/refl/test/train/curves.gpu.test.ts` trains on the same.
Everything is computed in float64, and once more in float32: a run that rounding alone leads elsewhere would prove nothing.
"""

import json
import math

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.schedulers import scheduling_ddpm
from transformers import CLIPTextConfig, CLIPTextModel

from .chain import MEAN, STD
from .chain import UNET as CHAIN_UNET
from .imagereward import RewardModel, config
from .seeded import draw
from .store import folder, versions
from .streams import int_at, normals, shuffle_at, stream_of, uniforms

STEPS = 100
SIZE = 16
LENGTH = 6
COLOURS = {"red": (220, 40, 50), "green": (40, 190, 60), "blue": (50, 70, 225), "yellow": (235, 210, 40)}
PATTERNS = ("square", "stripes", "checks", "bars")
WORDS = ("a", *COLOURS, *PATTERNS)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Two runs in different precision may differ by so much, a fifth of the test's bound.
ROUNDING = 2e-4

REWARD = {
    "seed": 5,
    "epochs": 5,
    "rankings": 78,
    "rankingsPerStep": 4,
    "lr": 2e-3,
    "lrSchedule": "cosine",
    "warmupSteps": 10,
    "weightDecay": 0.05,
    "gradientClip": 0.5,
    "noise": 0.4,
    "fixRate": 0.5,
    "shift": 1,
}
REFL = {
    "seed": 6,
    "steps": STEPS,
    "batchSize": 3,
    "pretrainingBatchSize": 4,
    "lambda": 0.3,
    "pretrainingWeight": 1.0,
    "rewardNoise": 0.3,
    "window": 3,
    "samplerSteps": 6,
    "lr": 2e-3,
    "lrSchedule": "constant",
    "warmupSteps": 5,
    "weightDecay": 0.01,
    "gradientClip": 1.0,
    "timestepShift": 2,
}
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "clip_sample": False,
}
UNET = CHAIN_UNET
TEXT = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": LENGTH,
    "hidden_act": "quick_gelu",
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}


def reward_options(mean, std):
    """The reward model: pictures of 16 x 16 are resized to 12 x 12."""
    options = config(12)
    options["text"].update(vocab_size=TEXT["vocab_size"], max_position_embeddings=LENGTH)
    return {**options, "mean": mean, "std": std}


def fill(module, part, dtype):
    """Seeded parameters under `<part>.<key>`."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            value.copy_(draw(f"{part}.{key}", tuple(value.shape)))
    return module.to(dtype).eval()


def tokens(texts):
    """Ids and masks (texts, LENGTH): start, words, end, padding."""
    rows = []
    for text in texts:
        ids = [2, *(len(SPECIAL) + WORDS.index(word) for word in text.split(" ")), 3]
        rows.append((ids + [0] * (LENGTH - len(ids)), [1] * len(ids) + [0] * (LENGTH - len(ids))))
    return tuple(torch.tensor([row[i] for row in rows]) for i in (0, 1))


def caption(number):
    """One of 16, each made of a colour and a pattern."""
    return f"a {tuple(COLOURS)[number % 4]} {PATTERNS[number // 4 % 4]}"


INSIDE = {
    "square": lambda x, y: 4 <= x < 12 and 4 <= y < 12,
    "stripes": lambda x, y: x // 2 % 2 == 1,
    "checks": lambda x, y: (x // 4 + y // 4) % 2 == 1,
    "bars": lambda x, y: y // 2 % 2 == 1,
}


def picture(text, number):
    """Bytes (16, 16, 3) as u8: the caption's pattern in its colour on grey, with a shade that depends on the number."""
    _, colour, pattern = text.split(" ")
    shade = lambda x, y: (7 * x + 13 * y + 29 * number) % 32
    pixel = lambda x, y: COLOURS[colour] if INSIDE[pattern](x, y) else (128, 128, 128)
    return torch.tensor(
        [[[value - shade(x, y) for value in pixel(x, y)] for x in range(SIZE)] for y in range(SIZE)], dtype=torch.uint8
    )


def planes(pictures, dtype):
    """(B, 3, 16, 16) in 0..1 from bytes."""
    return torch.stack(pictures).permute(0, 3, 1, 2).to(dtype) / 255


def ranking(number):
    """A prompt, four pictures and their ranks: both right; colour or pattern right, alike but in every fifth; nothing right."""
    prompt = number * 7 % 16
    other = (prompt + 1 + number // 16) % 4
    colour = other if other != prompt % 4 else (other + 1) % 4
    shown = (prompt, prompt // 4 * 4 + colour, (prompt + 4) % 16, (prompt + 8) // 4 % 4 * 4 + colour)
    turn = number % 4
    ranks = (1, 2, 3 if number % 5 == 0 else 2, 4)
    order = [(i + turn) % 4 for i in range(4)]
    pictures = [picture(caption(shown[i]), 4 * number + i) for i in order]
    return caption(prompt), pictures, [ranks[i] for i in order]


def mixed(pictures, most, seed, use, first):
    """Noise mixed into pictures about middle grey, its share uniform up to `most`."""
    share = torch.tensor(uniforms(seed, f"{use} share", first, len(pictures)), dtype=torch.float64) * most
    share = share.reshape(-1, 1, 1, 1)
    noise = normals(seed, use, first, tuple(pictures.shape)) / 2
    kept, added = ((1 - share**2).sqrt().to(pictures.dtype), (noise * share).to(pictures.dtype))
    return ((pictures - 0.5) * kept + added + 0.5).clamp(0, 1)


def preprocess(image, size=12):
    """Anti-aliased bicubic resize, no clamp, CLIP's mean and deviation."""
    resized = F.interpolate(image, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
    mean, std = (torch.tensor(v, dtype=image.dtype).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (resized - mean) / std


def learning_rate(options, step, total):
    """Of step 1 .. total: a linear rise, then constant or a half cosine."""
    warmup = options["warmupSteps"]
    if step <= warmup:
        return options["lr"] * step / warmup
    if options["lrSchedule"] == "constant":
        return options["lr"]
    return 0.5 * options["lr"] * (1 + math.cos(math.pi * (step - 1 - warmup) / (total - warmup)))


class Optimiser:
    """PyTorch's AdamW with clipping by the global norm."""

    def __init__(self, parameters, options, total):
        self.parameters = [p for p in parameters if p.requires_grad]
        self.options, self.total, self.norms = options, total, []
        self.adamw = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=options["weightDecay"])

    def step(self, loss):
        self.adamw.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.options["gradientClip"])
        self.norms.append(norm.item())
        self.adamw.param_groups[0]["lr"] = learning_rate(self.options, len(self.norms), self.total)
        self.adamw.step()


def freeze_first(model, rate):
    """The embeddings and the first layers of both encoders, and what takes no part in the reward."""
    vision, text = model.blip.visual_encoder, model.blip.text_encoder
    blocks, layers = list(vision.blocks), list(text.encoder.layer)
    free = [*blocks[math.floor(rate * len(blocks)) :], vision.norm, *layers[math.floor(rate * len(layers)) :], model.mlp]
    model.requires_grad_(False)
    for module in free:
        module.requires_grad_(True)


def train_reward(dtype):
    options = REWARD
    seed, per_step, shift = options["seed"], options["rankingsPerStep"], options["shift"]
    model = fill(RewardModel(reward_options(0.0, 1.0)), "reward", dtype)
    freeze_first(model, options["fixRate"])
    rankings = [ranking(i) for i in range(options["rankings"])]
    per_epoch = math.ceil(len(rankings) / per_step)
    optimiser = Optimiser(model.parameters(), options, options["epochs"] * per_epoch)
    losses = []
    for step in range(options["epochs"] * per_epoch):
        order = shuffle_at(seed, stream_of("ranking order"), step // per_epoch, len(rankings))
        at = step % per_epoch * per_step
        batch = [rankings[i] for i in order[at : at + per_step]]
        first = step * per_step * 16
        count = sum(len(shown) for _, shown, _ in batch)
        # Streams of shifts are counted by sixteens for each ranking; pictures take the first of them.
        across, down = (uniforms(seed, f"reward shift {way}", first, count) for way in ("across", "down"))
        pixels = lambda u: math.floor(u * (2 * shift + 1)) - shift
        moved = []
        for i, shown in enumerate([p for _, pictures, _ in batch for p in pictures]):
            rows = (torch.arange(SIZE) - pixels(down[i])).clamp(0, SIZE - 1)
            columns = (torch.arange(SIZE) - pixels(across[i])).clamp(0, SIZE - 1)
            moved.append(shown[rows][:, columns])
        images = mixed(planes(moved, dtype), options["noise"], seed, "reward noise", first)
        ids, mask = tokens([prompt for prompt, shown, _ in batch for _ in shown])
        rewards = model.score(preprocess(images), ids, mask)["raw"].squeeze(1)
        pairs, base = [], 0
        for _, shown, ranks in batch:
            pairs += [(base + i, base + j) for i in range(len(shown)) for j in range(len(shown)) if ranks[i] < ranks[j]]
            base += len(shown)
        # As the original: the better picture is the class 0 of two.
        logits = torch.stack([rewards[[i for i, _ in pairs]], rewards[[j for _, j in pairs]]], dim=1)
        loss = F.cross_entropy(logits, torch.zeros(len(pairs), dtype=torch.long))
        losses.append(loss.item())
        optimiser.step(loss)
    return {"loss": losses}, optimiser.norms


def train_refl(dtype):
    options = REFL
    seed, batch, given = options["seed"], options["batchSize"], options["pretrainingBatchSize"]
    text = CLIPTextModel(CLIPTextConfig(**TEXT, attn_implementation="eager"))
    lacks = "" if next(iter(text.state_dict())).startswith("text_model.") else "text_model."
    with torch.no_grad():
        for key, value in text.named_parameters():
            value.copy_(draw(f"text_encoder.{lacks}{key}", tuple(value.shape)))
    text = text.to(dtype).eval().requires_grad_(False)
    unet = fill(UNet2DConditionModel(**UNET), "unet", dtype)
    reward = reward_options(*REWARD_SCALE)
    scorer = fill(RewardModel(reward), "reward", dtype).requires_grad_(False)
    scheduler = DDPMScheduler(**SCHEDULER)
    encode = lambda texts: text(input_ids=tokens(texts)[0]).last_hidden_state
    optimiser = Optimiser(unet.parameters(), options, STEPS)
    curves = {"pretrainingLoss": [], "rewardLoss": []}
    kept = []
    for step in range(STEPS):
        # The base model's own data.
        first = step * given
        numbers = [int_at(seed, stream_of("own example"), first + i, 16) for i in range(given)]
        latents = F.pixel_unshuffle(planes([picture(caption(n), n) for n in numbers], dtype) * 2 - 1, 2)
        s = options["timestepShift"]
        times = [min(999, math.floor(s * u / (1 + (s - 1) * u) * 1000)) for u in uniforms(seed, "training time", first, given)]
        times = torch.tensor(times)
        noise = normals(seed, "training noise", first, tuple(latents.shape)).to(dtype)
        answer = unet(scheduler.add_noise(latents, noise, times), times, encode([caption(n) for n in numbers])).sample
        pretraining = F.mse_loss(answer, scheduler.get_velocity(latents, noise, times))
        # The pictures that the reward model sees.
        first = step * batch
        prompts = [caption(int_at(seed, stream_of("tuning prompt"), first + i, 16)) for i in range(batch)]
        width = options["window"]
        graded = options["samplerSteps"] - width + int_at(seed, stream_of("graded step"), step, width)
        scheduler.set_timesteps(options["samplerSteps"])
        states = encode(prompts)
        shape = (batch, UNET["in_channels"], UNET["sample_size"], UNET["sample_size"])
        latents = normals(seed, "refl start", first, shape).to(dtype)
        with torch.no_grad():
            for i in range(graded):
                t = scheduler.timesteps[i]
                drawn = normals(seed, f"refl step {i}", first, shape).to(dtype)
                scheduling_ddpm.randn_tensor = lambda *_, drawn=drawn, **__: drawn
                latents = scheduler.step(unet(latents, t, states).sample, t, latents).prev_sample
        t = scheduler.timesteps[graded]
        scheduling_ddpm.randn_tensor = lambda *_, **__: torch.zeros(shape, dtype=dtype)
        x0 = scheduler.step(unet(latents, t, states).sample, t, latents).pred_original_sample
        images = (F.pixel_shuffle(x0, 2) / 2 + 0.5).clamp(0, 1)
        kept.append((x0.abs() < 1).double().mean().item())
        images = mixed(images, options["rewardNoise"], seed, "refl reward noise", first)
        raw = scorer.score(preprocess(images), *tokens(prompts))["raw"]
        rewarding = F.relu(2 - (raw - reward["mean"]) / reward["std"]).mean()
        curves["pretrainingLoss"].append(pretraining.item())
        curves["rewardLoss"].append(rewarding.item())
        optimiser.step(options["lambda"] * rewarding + options["pretrainingWeight"] * pretraining)
    print(f"  pixels that are not clamped: {min(kept):.0%} to {max(kept):.0%}")
    return curves, optimiser.norms


REWARD_SCALE = (0.1, 0.5)


def record(name, train, options, models):
    """Trains in both precisions, checks that rounding does not decide and that something is learnt, and writes the curves."""
    curves, norms = train(torch.float64)
    rounded, _ = train(torch.float32)
    clipped = sum(norm > options["gradientClip"] for norm in norms)
    print(f"  gradient norms {min(norms):.3f} to {max(norms):.3f}, {clipped} of {len(norms)} clipped")
    for key, losses in curves.items():
        error = max(abs(a - b) / abs(b) for a, b in zip(rounded[key], losses))
        first, last = (sum(part) / 10 for part in (losses[:10], losses[-10:]))
        print(f"  {key}: {first:.4f} in the first ten steps, {last:.4f} in the last; float32 differs by up to {error:.1e}")
        if len(losses) != STEPS or error > ROUNDING:
            raise ValueError(f"{name}: {key} has {len(losses)} steps, and float32 differs by up to {error:.1e}")
    data = {"size": SIZE, "maxLength": LENGTH, "words": WORDS, "colours": COLOURS, "patterns": PATTERNS}
    figures = {key: [float(f"{x:.9g}") for x in losses] for key, losses in curves.items()}
    content = {"case": name, **data, "training": options, **models, "curves": figures, "versions": versions()}
    (folder("refl") / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


def reward():
    record("training_reward", train_reward, REWARD, {"reward": reward_options(0.0, 1.0)})


def refl():
    models = {"unet": UNET, "text_encoder": TEXT, "scheduler": SCHEDULER, "reward": reward_options(*REWARD_SCALE)}
    record("training_refl", train_refl, REFL, models)


CASES = {"training_reward": reward, "training_refl": refl}
