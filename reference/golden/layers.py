"""Composite layers of floor 2: MLP, convolutions, norms, embedding with cross entropy, softmax, pixel rearrangement."""

import torch
import torch.nn.functional as F

from .store import generator, integers, normal, record

PACKAGE = "autograd"


def mlp():
    rng = generator("mlp_gelu_layernorm")
    params = {
        "fc1.weight": normal(rng, 13, 7, scale=0.4),
        "fc1.bias": normal(rng, 13, scale=0.2),
        "norm.weight": 1 + normal(rng, 13, scale=0.2),
        "norm.bias": normal(rng, 13, scale=0.2),
        "fc2.weight": normal(rng, 5, 13, scale=0.3),
        "fc2.bias": normal(rng, 5, scale=0.2),
    }

    def forward(i, p):
        h = F.gelu(F.linear(i["x"], p["fc1.weight"], p["fc1.bias"]))
        h = F.layer_norm(h, (13,), p["norm.weight"], p["norm.bias"], 1e-5)
        return {"y": F.linear(h, p["fc2.weight"], p["fc2.bias"])}

    config = {"op": "linear -> gelu(erf) -> layer_norm -> linear", "eps": 1e-5}
    record(PACKAGE, "mlp_gelu_layernorm", config, {"x": normal(rng, 3, 5, 7)}, params, forward)


CONVS = {
    # name: (input shape, out channels, kernel, stride, padding, bias)
    "conv2d_3x3_s1_p1": ((2, 3, 7, 5), 4, (3, 3), (1, 1), (1, 1), True),
    "conv2d_3x3_s2_p1_odd": ((2, 4, 9, 7), 5, (3, 3), (2, 2), (1, 1), True),
    "conv2d_3x3_s2_p1_even": ((1, 5, 8, 6), 3, (3, 3), (2, 2), (1, 1), True),
    "conv2d_1x1": ((3, 5, 4, 3), 7, (1, 1), (1, 1), (0, 0), True),
    "conv2d_5x5_p0": ((2, 3, 9, 7), 4, (5, 5), (1, 1), (0, 0), True),
    "conv2d_3x5_s2x1_p1x2": ((1, 2, 11, 6), 3, (3, 5), (2, 1), (1, 2), False),
    "conv2d_patch4": ((2, 3, 12, 8), 6, (4, 4), (4, 4), (0, 0), True),
    "conv2d_1x1_s2": ((1, 3, 5, 8), 2, (1, 1), (2, 2), (0, 0), False),
}


def convs():
    for name, (shape, out, kernel, stride, padding, bias) in CONVS.items():
        rng = generator(name)
        fan_in = shape[1] * kernel[0] * kernel[1]
        params = {"weight": normal(rng, out, shape[1], *kernel, scale=fan_in**-0.5)}
        if bias:
            params["bias"] = normal(rng, out, scale=0.2)

        def forward(i, p, stride=stride, padding=padding):
            return {"y": F.conv2d(i["x"], p["weight"], p.get("bias"), stride, padding)}

        config = {"op": "conv2d", "kernel": kernel, "stride": stride, "padding": padding, "bias": bias}
        record(PACKAGE, name, config, {"x": normal(rng, *shape)}, params, forward)
    asymmetric_downsample()


def asymmetric_downsample():
    name = "conv2d_downsample_pad_right_bottom"
    rng = generator(name)
    params = {"weight": normal(rng, 4, 3, 3, 3, scale=0.2), "bias": normal(rng, 4, scale=0.2)}

    def forward(i, p):
        padded = F.pad(i["x"], (0, 1, 0, 1))
        return {"y": F.conv2d(padded, p["weight"], p["bias"], 2, 0)}

    config = {"op": "pad(right 1, bottom 1, zeros) -> conv2d", "pad": [0, 1, 0, 1], "stride": 2, "padding": 0}
    record(PACKAGE, name, config, {"x": normal(rng, 2, 3, 6, 8)}, params, forward)


NORMS = {
    # name: (input shape, groups, eps, input scale, input mean, silu)
    "group_norm_eps5": ((2, 12, 5, 3), 4, 1e-5, 1.0, 0.5, False),
    "group_norm_eps6_small_variance": ((2, 12, 5, 3), 4, 1e-6, 2e-3, 0.0, False),
    "group_norm_eps5_silu": ((3, 8, 3, 7), 8, 1e-5, 1.5, -0.3, True),
    "group_norm_eps6_silu": ((1, 6, 4, 5), 2, 1e-6, 0.7, 2.0, True),
    "group_norm_one_group_tokens": ((2, 6, 9), 1, 1e-5, 1.0, 0.0, False),
}


def norms():
    for name, (shape, groups, eps, scale, mean, silu) in NORMS.items():
        rng = generator(name)
        channels = shape[1]
        params = {"weight": 1 + normal(rng, channels, scale=0.3), "bias": normal(rng, channels, scale=0.3)}

        def forward(i, p, groups=groups, eps=eps, silu=silu):
            y = F.group_norm(i["x"], groups, p["weight"], p["bias"], eps)
            return {"y": F.silu(y) if silu else y}

        config = {"op": "group_norm -> silu" if silu else "group_norm", "groups": groups, "eps": eps}
        x = (normal(rng, *shape, scale=scale) + mean).to(torch.float32)
        record(PACKAGE, name, config, {"x": x}, params, forward)
    for name, eps, scale in (("layer_norm_eps12", 1e-12, 1.0), ("layer_norm_eps6_small_variance", 1e-6, 2e-3)):
        rng = generator(name)
        params = {"weight": 1 + normal(rng, 11, scale=0.3), "bias": normal(rng, 11, scale=0.3)}

        def forward(i, p, eps=eps):
            return {"y": F.layer_norm(i["x"], (11,), p["weight"], p["bias"], eps)}

        record(PACKAGE, name, {"op": "layer_norm", "eps": eps}, {"x": normal(rng, 3, 5, 11, scale=scale)}, params, forward)


CROSS_ENTROPIES = {
    "cross_entropy": {"reduction": "mean"},
    "cross_entropy_ignore_index": {"reduction": "mean", "ignore_index": -100},
    "cross_entropy_label_smoothing": {"reduction": "mean", "label_smoothing": 0.1},
    "cross_entropy_ignore_smoothing_sum": {"reduction": "sum", "ignore_index": 3, "label_smoothing": 0.25},
    "cross_entropy_none": {"reduction": "none"},
}


def cross_entropies():
    for suffix, options in CROSS_ENTROPIES.items():
        name = f"embedding_{suffix}"
        rng = generator(name)
        vocabulary, width = 11, 6
        ids = integers(rng, 0, vocabulary, 3, 5)
        ids[0, :3] = ids[1, 1]
        targets = integers(rng, 0, vocabulary, 15)
        if "ignore_index" in options:
            targets[2:6] = options["ignore_index"]
        params = {
            "embedding.weight": normal(rng, vocabulary, width),
            "linear.weight": normal(rng, vocabulary, width, scale=0.5),
            "linear.bias": normal(rng, vocabulary, scale=0.3),
        }

        def forward(i, p, options=options):
            h = F.embedding(i["ids"], p["embedding.weight"])
            logits = F.linear(h, p["linear.weight"], p["linear.bias"]).reshape(15, -1)
            return {"loss": F.cross_entropy(logits, i["targets"], **options)}

        config = {"op": "embedding -> linear -> reshape(15, 11) -> cross_entropy", **options}
        record(PACKAGE, name, config, {"ids": ids, "targets": targets}, params, forward)


def softmaxes():
    for name, fn in (("log_softmax", F.log_softmax), ("softmax", F.softmax)):
        rng = generator(name)
        x = normal(rng, 3, 7, 5, scale=3)
        x[0, 0] += 60
        x[1, 2, 1] = -1e4

        def forward(i, p, fn=fn):
            return {"last": fn(i["x"], -1), "middle": fn(i["x"], 1)}

        record(PACKAGE, name, {"op": name, "dims": {"last": -1, "middle": 1}}, {"x": x}, {}, forward)


def rearrangements():
    rng = generator("rearrangements")
    cases = {
        "nearest_upsample_x2": ((2, 3, 5, 4), lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), {}),
        "pixel_shuffle_2": ((2, 12, 3, 5), lambda x: F.pixel_shuffle(x, 2), {"factor": 2}),
        "pixel_shuffle_3": ((1, 18, 2, 3), lambda x: F.pixel_shuffle(x, 3), {"factor": 3}),
        "pixel_unshuffle_2": ((2, 3, 6, 10), lambda x: F.pixel_unshuffle(x, 2), {"factor": 2}),
    }
    for name, (shape, fn, options) in cases.items():

        def forward(i, p, fn=fn):
            return {"y": fn(i["x"])}

        record(PACKAGE, name, {"op": name, **options}, {"x": normal(rng, *shape)}, {}, forward)


CASES = {
    "mlp": mlp,
    "conv2d": convs,
    "norms": norms,
    "cross_entropy": cross_entropies,
    "softmax": softmaxes,
    "rearrangements": rearrangements,
}
