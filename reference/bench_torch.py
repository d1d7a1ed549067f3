"""Times the rows of a benchmark result in PyTorch, on the CPU and on CUDA where it is there: bench_torch.py [RESULT.json] [--out FILE] [--threads N] [--only TEXT].

RESULT.json is what `pnpm bench` wrote (default bench/results/node.json); its rows say what they compute. The next `pnpm bench` shows the times of --out
(default bench/results/torch.json) as context beside its own. Needs PyTorch alone; f32 without TF32.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
ROUNDS = 7
ROUND_SECONDS = 0.05


def leaf(device, *shape, low=-1.0, high=1.0):
    return torch.empty(shape, device=device).uniform_(low, high)


def with_gradients(part, inputs, forward):
    """The forward function alone, or together with the gradients of all inputs."""
    if part == "forward":
        def run():
            with torch.no_grad():
                return forward(*inputs)
        return run
    for x in inputs:
        x.requires_grad_(True)
    dy = torch.randn_like(forward(*inputs))
    return lambda: torch.autograd.grad(forward(*inputs), inputs, dy)


def matmul(w, device):
    lead = [w["batch"]] if w["batch"] > 1 else []
    a, b = leaf(device, *lead, w["m"], w["k"]), leaf(device, *lead, w["k"], w["n"])
    # A transposed operand is stored with its last two axes exchanged.
    if w.get("transA"):
        a = a.transpose(-1, -2).contiguous().transpose(-1, -2)
    if w.get("transB"):
        b = b.transpose(-1, -2).contiguous().transpose(-1, -2)
    if w["part"] == "forward":
        return lambda: a @ b
    dy = leaf(device, *lead, w["m"], w["n"])
    return lambda: (dy @ b.transpose(-1, -2), a.transpose(-1, -2) @ dy)


def conv(w, device):
    x = leaf(device, w["n"], w["c"], w["h"], w["h"])
    weight = leaf(device, w["o"], w["c"], w["k"], w["k"])
    options = {"stride": w["stride"], "padding": w["padding"]}
    y = F.conv2d(x, weight, **options)
    if w["part"] == "forward":
        return lambda: F.conv2d(x, weight, **options)
    dy = torch.randn_like(y)
    if w["part"] == "dX":
        return lambda: torch.nn.grad.conv2d_input(x.shape, weight, dy, **options)
    return lambda: torch.nn.grad.conv2d_weight(x, weight.shape, dy, **options)


def embedding(w, device):
    ids = torch.randint(w["count"], (w["ids"],), device=device)
    return with_gradients(w["part"], [leaf(device, w["count"], w["width"])], lambda table: F.embedding(ids, table))


def vit_block(w, device):
    tokens, width, heads = w["tokens"], w["width"], w["heads"]
    ones = lambda: torch.ones(width, device=device)
    matrix = lambda rows, cols: leaf(device, rows, cols) / rows**0.5

    def forward(x, g1, b1, wqkv, wproj, g2, b2, wup, wdown):
        qkv = (F.layer_norm(x, [width], g1, b1) @ wqkv).view(tokens, 3, heads, width // heads).permute(1, 2, 0, 3)
        mixed = F.scaled_dot_product_attention(*qkv.unsqueeze(1))
        x = x + mixed[0].transpose(0, 1).reshape(tokens, width) @ wproj
        return x + F.gelu(F.layer_norm(x, [width], g2, b2) @ wup) @ wdown

    inputs = [leaf(device, tokens, width), ones(), ones(), matrix(width, 3 * width), matrix(width, width)]
    return with_gradients("both", [*inputs, ones(), ones(), matrix(width, 4 * width), matrix(4 * width, width)], forward)


def unet_block(w, device):
    n, c, h, groups = w["n"], w["c"], w["h"], w["groups"]
    ones = lambda: torch.ones(c, device=device)
    weight = lambda: leaf(device, c, c, 3, 3) / (9 * c) ** 0.5

    def forward(x, g1, b1, w1, g2, b2, w2):
        y = F.conv2d(F.silu(F.group_norm(x, groups, g1, b1)), w1, padding=1)
        return x + F.conv2d(F.silu(F.group_norm(y, groups, g2, b2)), w2, padding=1)

    inputs = [leaf(device, n, c, h, h), ones(), ones(), weight(), ones(), ones(), weight()]
    return with_gradients("both", inputs, forward)


def mlp(w, device):
    layers = []
    for i, (rows, cols) in enumerate(zip(w["widths"], w["widths"][1:])):
        layers += ([torch.nn.ReLU()] if i else []) + [torch.nn.Linear(rows, cols)]
    model = torch.nn.Sequential(*layers).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = leaf(device, w["batch"], w["widths"][0])
    classes = torch.randint(w["widths"][-1], (w["batch"],), device=device)

    def run():
        optimizer.zero_grad()
        F.cross_entropy(model(x), classes).backward()
        optimizer.step()

    return run


def adamw(w, device):
    parameter = torch.nn.Parameter(leaf(device, w["count"]))
    parameter.grad = leaf(device, w["count"])
    return torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.01, fused=True).step


def build(w, device):
    part = w["part"]
    match w["op"]:
        case "matmul":
            return matmul(w, device)
        case "conv":
            return conv(w, device)
        case "softmax":
            return with_gradients(part, [leaf(device, w["rows"], w["cols"])], lambda x: x.softmax(-1))
        case "layerNorm":
            inputs = [leaf(device, w["rows"], w["cols"]), leaf(device, w["cols"]), leaf(device, w["cols"])]
            return with_gradients(part, inputs, lambda x, g, b: F.layer_norm(x, [w["cols"]], g, b))
        case "groupNorm":
            c = w["c"]
            inputs = [leaf(device, w["n"], c, w["h"], w["h"]), leaf(device, c), leaf(device, c)]
            after = F.silu if w["silu"] else (lambda y: y)
            return with_gradients(part, inputs, lambda x, g, b: after(F.group_norm(x, w["groups"], g, b)))
        case "gelu":
            return with_gradients(part, [leaf(device, w["size"])], F.gelu)
        case "attention":
            inputs = [leaf(device, 1, w["heads"], w["tokens"], w["size"]) for _ in range(3)]
            return with_gradients(part, inputs, F.scaled_dot_product_attention)
        case "embedding":
            return embedding(w, device)
        case "bicubic":
            x = leaf(device, w["n"], w["c"], w["h"], w["h"])
            return lambda: F.interpolate(x, size=(w["size"], w["size"]), mode="bicubic")
        case "upsample":
            x = leaf(device, w["n"], w["c"], w["h"], w["h"])
            return with_gradients(part, [x], lambda x: F.interpolate(x, scale_factor=2, mode="nearest"))
        case "sum":
            x = leaf(device, w["rows"], w["cols"])
            return x.sum if w["axis"] == "all" else lambda: x.sum(w["axis"])
        case "mlp":
            return mlp(w, device)
        case "vitBlock":
            return vit_block(w, device)
        case "unetBlock":
            return unet_block(w, device)
        case "adamw":
            return adamw(w, device)
    raise ValueError(f"unknown op {w['op']}")


def milliseconds(run, synchronize):
    """The median over rounds, each of as many runs as fill it."""
    for _ in range(3):
        run()
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    count = max(1, round(ROUND_SECONDS / max(time.perf_counter() - start, 1e-6)))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            run()
        synchronize()
        times.append(1000 * (time.perf_counter() - start) / count)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", nargs="?", type=Path, default=RESULTS / "node.json")
    parser.add_argument("--out", type=Path, default=RESULTS / "torch.json")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = [r for r in json.loads(options.result.read_text())["rows"] if "work" in r and options.only in r["name"]]
    devices = {"cpu": f"{options.threads} threads"}
    if torch.cuda.is_available():
        devices["cuda"] = torch.cuda.get_device_name()
    report = {"version": torch.__version__, "devices": {}}
    for device, description in devices.items():
        synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
        times = {}
        for row in rows:
            times[row["name"]] = milliseconds(build(row["work"], device), synchronize)
            print(f"{device}  {row['name']}: {times[row['name']]:.3f} ms", flush=True)
        report["devices"][device] = {"description": description, "rows": times}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
