"""Attention cases of floor 2: scaled dot-product attention plain, causal, masked and crossed, and one with projections."""

import torch
import torch.nn.functional as F

from .store import generator, normal, record

PACKAGE = "autograd"

VARIANTS = {
    # name: (batch, heads, queries, keys, head size, causal, key lengths)
    "attention_plain": (2, 3, 7, 7, 5, False, None),
    "attention_causal": (2, 2, 9, 9, 4, True, None),
    "attention_key_mask": (3, 2, 5, 8, 6, False, (8, 3, 1)),
    "attention_causal_key_mask": (2, 2, 6, 6, 4, True, (6, 2)),
    "attention_cross": (2, 3, 6, 11, 5, False, None),
    "attention_long": (1, 2, 67, 70, 8, False, None),
}


def allowed(causal, lengths, batch, queries, keys):
    """Boolean (batch, 1, queries, keys): true where a query may look at a key."""
    mask = torch.ones(batch, 1, queries, keys, dtype=torch.bool)
    if causal:
        mask &= torch.ones(queries, keys, dtype=torch.bool).tril()
    if lengths is not None:
        mask &= (torch.arange(keys)[None, :] < torch.tensor(lengths)[:, None])[:, None, None, :]
    return mask


def variants():
    for name, (batch, heads, queries, keys, size, causal, lengths) in VARIANTS.items():
        rng = generator(name)
        inputs = {
            "q": normal(rng, batch, heads, queries, size),
            "k": normal(rng, batch, heads, keys, size),
            "v": normal(rng, batch, heads, keys, size),
        }
        if lengths is not None:
            inputs["key_mask"] = (torch.arange(keys)[None, :] < torch.tensor(lengths)[:, None]).to(torch.int64)
        mask = allowed(causal, lengths, batch, queries, keys)

        def forward(i, p, mask=mask):
            return {"y": F.scaled_dot_product_attention(i["q"], i["k"], i["v"], attn_mask=mask)}

        config = {"op": "scaled_dot_product_attention", "causal": causal, "key_mask": lengths is not None}
        record(PACKAGE, name, {**config, "scale": size**-0.5}, inputs, {}, forward)


def projected():
    name = "attention_projected"
    rng = generator(name)
    width, context, heads, size = 12, 10, 3, 4
    params = {
        "to_q.weight": normal(rng, heads * size, width, scale=0.3),
        "to_k.weight": normal(rng, heads * size, context, scale=0.3),
        "to_v.weight": normal(rng, heads * size, context, scale=0.3),
        "to_out.0.weight": normal(rng, width, heads * size, scale=0.3),
        "to_out.0.bias": normal(rng, width, scale=0.2),
    }

    def split(t):
        return t.reshape(t.shape[0], t.shape[1], heads, size).transpose(1, 2)

    def forward(i, p):
        q = split(F.linear(i["x"], p["to_q.weight"]))
        k = split(F.linear(i["context"], p["to_k.weight"]))
        v = split(F.linear(i["context"], p["to_v.weight"]))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 6, heads * size)
        return {"y": i["x"] + F.linear(h, p["to_out.0.weight"], p["to_out.0.bias"])}

    config = {"op": "x + to_out(attention(to_q(x), to_k(context), to_v(context)))", "heads": heads, "head_size": size}
    inputs = {"x": normal(rng, 2, 6, width), "context": normal(rng, 2, 5, context)}
    record(PACKAGE, name, config, inputs, params, forward)


CASES = {"attention": variants, "attention_projected": projected}
