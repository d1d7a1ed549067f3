/** Our ops, gradients and optimisers against every file that PyTorch computed in float64. */
import {
  type CrossEntropyOptions,
  clamp,
  conv2d,
  crossEntropy,
  embedding,
  groupNorm,
  isFloat,
  layerNorm,
  logSoftmax,
  pad,
  pixelShuffle,
  pixelUnshuffle,
  resize,
  scaledDotProductAttention,
  scope,
  softmax,
  type Tensor,
  upsampleNearest2x,
} from "@refl/tensor";
import { describe, expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { relativeError } from "../../tensor/test/operands.ts";
import { Adam, type AdamOptions, AdamW, grad, Parameter, ParameterGroup, requireGrad } from "../src/index.ts";
import { type Golden, goldenNames, part, readGolden, upload } from "./golden.ts";
import { distance } from "./read.ts";

type Named = Readonly<Record<string, Tensor>>;

/** From inputs and parameters to the named outputs, with the options of the JSON file. */
type Layer = (inputs: Named, parameters: Named, config: Golden["config"]) => Named;

type Pair = readonly [number, number];

const conv: Layer = ({ x }, { weight, bias }, { stride, padding }) => ({
  y: conv2d(x!, weight!, bias ?? null, { stride: stride as Pair, padding: padding as Pair }),
});

const normalised: Layer = ({ x }, { weight, bias }, { op, groups, eps }) => ({
  y: groupNorm(x!, groups as number, weight!, bias!, eps as number, op === "group_norm -> silu" ? "silu" : "none"),
});

const layerNormalised: Layer = ({ x }, { weight, bias }, { eps }) => ({
  y: layerNorm(x!, weight!, bias!, eps as number),
});

const attention: Layer = ({ q, k, v, key_mask }, _, { causal }) => ({
  y: scaledDotProductAttention(q!, k!, v!, { causal: causal as boolean, mask: key_mask ?? null }),
});

const resampled: Layer = ({ x }, _, { size, mode, antialias }) => ({
  y: resize(x!, size as Pair, { mode: mode as "bicubic" | "bilinear", antialias: antialias as boolean }),
});

const classified: Layer = ({ ids, targets }, parameters, { reduction, ignore_index, label_smoothing }) => {
  const h = embedding(parameters["embedding.weight"]!, ids!);
  const logits = h.linear(parameters["linear.weight"]!, parameters["linear.bias"]!).reshape(15, -1);
  return {
    loss: crossEntropy(logits, targets!, {
      reduction: reduction as NonNullable<CrossEntropyOptions["reduction"]>,
      ...(ignore_index === undefined ? {} : { ignoreIndex: ignore_index as number }),
      ...(label_smoothing === undefined ? {} : { labelSmoothing: label_smoothing as number }),
    }),
  };
};

/** The closed map of layers: a file without an entry here or in {@link OPTIMISERS}, {@link CLIPPING}, POINTWISE fails. */
const LAYERS: Readonly<Record<string, Layer>> = {
  attention_causal: attention,
  attention_causal_key_mask: attention,
  attention_cross: attention,
  attention_key_mask: attention,
  attention_long: attention,
  attention_plain: attention,
  attention_projected: ({ x, context }, p, { heads, head_size }) => {
    const split = (t: Tensor): Tensor =>
      t.reshape(t.size(0), t.size(1), heads as number, head_size as number).transpose(1, 2);
    const [q, k, v] = [
      x!.linear(p["to_q.weight"]!),
      context!.linear(p["to_k.weight"]!),
      context!.linear(p["to_v.weight"]!),
    ];
    const h = scaledDotProductAttention(split(q!), split(k!), split(v!))
      .transpose(1, 2)
      .reshape(...q!.shape);
    return { y: x!.add(h.linear(p["to_out.0.weight"]!, p["to_out.0.bias"]!)) };
  },
  bicubic_antialias_down: resampled,
  bicubic_antialias_half: resampled,
  bicubic_antialias_mixed: resampled,
  bicubic_antialias_up: resampled,
  bicubic_plain_down: resampled,
  bicubic_plain_half: resampled,
  bicubic_plain_mixed: resampled,
  bicubic_plain_up: resampled,
  bilinear_antialias_down: resampled,
  bilinear_antialias_half: resampled,
  bilinear_antialias_mixed: resampled,
  bilinear_antialias_up: resampled,
  bilinear_plain_down: resampled,
  bilinear_plain_half: resampled,
  bilinear_plain_mixed: resampled,
  bilinear_plain_up: resampled,
  conv2d_1x1: conv,
  conv2d_1x1_s2: conv,
  conv2d_3x3_s1_p1: conv,
  conv2d_3x3_s2_p1_even: conv,
  conv2d_3x3_s2_p1_odd: conv,
  conv2d_3x5_s2x1_p1x2: conv,
  conv2d_5x5_p0: conv,
  conv2d_downsample_pad_right_bottom: ({ x }, { weight, bias }, config) => ({
    y: conv2d(pad(x!, config["pad"] as number[]), weight!, bias!, { stride: config["stride"] as number }),
  }),
  conv2d_patch4: conv,
  embedding_cross_entropy: classified,
  embedding_cross_entropy_ignore_index: classified,
  embedding_cross_entropy_ignore_smoothing_sum: classified,
  embedding_cross_entropy_label_smoothing: classified,
  embedding_cross_entropy_none: classified,
  group_norm_eps5: normalised,
  group_norm_eps5_silu: normalised,
  group_norm_eps6_silu: normalised,
  group_norm_eps6_small_variance: normalised,
  group_norm_one_group_tokens: normalised,
  layer_norm_eps12: layerNormalised,
  layer_norm_eps6_small_variance: layerNormalised,
  log_softmax: ({ x }) => ({ last: logSoftmax(x!, -1), middle: x!.logSoftmax(1) }),
  mlp_gelu_layernorm: ({ x }, p, { eps }) => {
    const h = x!.linear(p["fc1.weight"]!, p["fc1.bias"]!, "gelu");
    const normal = layerNorm(h, p["norm.weight"]!, p["norm.bias"]!, eps as number);
    return { y: normal.linear(p["fc2.weight"]!, p["fc2.bias"]!) };
  },
  nearest_upsample_x2: ({ x }) => ({ y: upsampleNearest2x(x!) }),
  pixel_shuffle_2: ({ x }, _, { factor }) => ({ y: pixelShuffle(x!, factor as number) }),
  pixel_shuffle_3: ({ x }, _, { factor }) => ({ y: pixelShuffle(x!, factor as number) }),
  pixel_unshuffle_2: ({ x }, _, { factor }) => ({ y: pixelUnshuffle(x!, factor as number) }),
  softmax: ({ x }) => ({ last: softmax(x!, -1), middle: x!.softmax(1) }),
};

/** Functions of `pointwise`: ops, and what people write with them. */
const POINTWISE: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  exp: (x) => x.exp(),
  log: (x) => x.log(),
  sqrt: (x) => x.sqrt(),
  rsqrt: (x) => x.rsqrt(),
  reciprocal: (x) => x.reciprocal(),
  square: (x) => x.square(),
  abs: (x) => x.abs(),
  sin: (x) => x.sin(),
  cos: (x) => x.cos(),
  tanh: (x) => x.tanh(),
  sigmoid: (x) => x.sigmoid(),
  logsigmoid: (x) => x.neg().softplus().neg(),
  softplus: (x) => x.softplus(),
  softplus_beta2: (x) => x.mul(2).softplus().mul(0.5),
  relu: (x) => x.relu(),
  silu: (x) => x.silu(),
  gelu: (x) => x.gelu(),
  gelu_tanh: (x) => {
    const inner = x
      .square()
      .mul(0.044715)
      .add(1)
      .mul(x)
      .mul(Math.sqrt(2 / Math.PI));
    return inner.tanh().add(1).mul(x).mul(0.5);
  },
  quick_gelu: (x) => x.quickGelu(),
  clamp: (x) => clamp(x, -1, 1.5),
  clamp_min: (x) => clamp(x, 0.5, Number.POSITIVE_INFINITY),
};

/** erf is no op of its own: it stands inside GELU, which `gelu` checks on the same grid. */
const NO_OP = ["erf"];

const OPTIMISERS: Readonly<Record<string, typeof Adam | typeof AdamW>> = {
  adam: Adam,
  adam_no_decay: Adam,
  adamw: AdamW,
};

const CLIPPING = ["clip_grad_norm_above", "clip_grad_norm_below"];

test("every file is tested", () => {
  const tested = [...Object.keys(LAYERS), ...Object.keys(OPTIMISERS), ...CLIPPING, "pointwise"];
  expect(tested.sort()).toEqual(goldenNames);
});

const TIERS = ["full", "portable"] as const;
const rows = <T>(names: readonly T[]): (readonly [(typeof TIERS)[number], T])[] =>
  TIERS.flatMap((tier) => names.map((name) => [tier, name] as const));

/** Computes a layer and the gradients of Σ output · cotangent; what comes back is named as in the file. */
async function outcome(tier: "full" | "portable", name: string, layer: Layer): Promise<Map<string, ArrayLike<number>>> {
  const device = await testDevice(tier);
  const golden = readGolden(name);
  const tensors = scope(() => {
    const place = (prefix: string): Record<string, Tensor> =>
      Object.fromEntries(part(golden, prefix).map(([key, stored]) => [key, upload(device, stored)]));
    const inputs = place("input.");
    const parameters = place("param.");
    const leaves = new Map<string, Tensor>();
    for (const [prefix, group] of [["grad.", inputs] as const, ["gradparam.", parameters] as const]) {
      for (const [key, t] of Object.entries(group)) if (isFloat(t.dtype)) leaves.set(prefix + key, requireGrad(t));
    }
    const outputs = layer(inputs, parameters, golden.config);
    const loss = part(golden, "cotangent.")
      .map(([key, stored]) => outputs[key]!.mul(upload(device, stored)).sum())
      .reduce((sum, term) => sum.add(term));
    const gradients = grad(loss, [...leaves.values()]);
    const shapes = new Map(part(golden, "output.").map(([key, { shape }]) => [key, shape]));
    for (const [key, t] of Object.entries(outputs)) expect(t.shape, key).toEqual(shapes.get(key));
    return {
      ...Object.fromEntries(Object.entries(outputs).map(([key, t]) => [`output.${key}`, t.detach()])),
      ...Object.fromEntries([...leaves.keys()].map((key, i) => [key, gradients[i]!])),
    };
  });
  const values = new Map<string, ArrayLike<number>>();
  for (const [key, t] of Object.entries(tensors)) {
    values.set(key, await t.data());
    t.dispose();
  }
  const results = [...golden.tensors.keys()].filter((key) => /^(output|grad|gradparam)\./.test(key));
  expect([...values.keys()].sort()).toEqual(results.sort());
  return values;
}

test.each(rows(Object.keys(LAYERS)))("%s tier: %s", async (tier, name) => {
  const { tensors } = readGolden(name);
  for (const [key, found] of await outcome(tier, name, LAYERS[name]!)) {
    expect(relativeError(found, tensors.get(key)!.data), key).toBeLessThanOrEqual(1e-5);
  }
});

describe("pointwise", () => {
  const { config, tensors } = readGolden("pointwise");
  const wanted = (config["functions"] as string[]).filter((name) => !NO_OP.includes(name));

  test("every function is tested", () => expect(Object.keys(POINTWISE).sort()).toEqual(wanted.toSorted()));

  // The grids reach from 1e-30 to 1e5, so each point is compared by itself, relative to its own value or to 1.
  test.each(rows(wanted))("%s tier: %s", async (tier, name) => {
    const device = await testDevice(tier);
    const stored = (kind: string) => tensors.get(`${kind}.${name}`)!;
    const [output, gradient] = scope(() => {
      const x = requireGrad(upload(device, stored("input")));
      const y = POINTWISE[name]!(x);
      return [y.detach(), grad(y, [x], { gradient: upload(device, stored("cotangent")) })[0]!] as const;
    });
    for (const [kind, t] of [["output", output] as const, ["grad", gradient] as const]) {
      const found = await t.data();
      t.dispose();
      stored(kind).data.forEach((expected, i) => {
        const error = Math.abs(found[i]! - expected) / Math.max(1, Math.abs(expected));
        expect(error, `${kind} at x = ${stored("input").data[i]}: ${found[i]}, not ${expected}`).toBeLessThanOrEqual(
          1e-5,
        );
      });
    }
  });
});

/** The file's parameters as a packed group. */
function packed(device: Awaited<ReturnType<typeof testDevice>>, golden: Golden, prefix: string): ParameterGroup {
  return new ParameterGroup(part(golden, prefix).map(([key, stored]) => [key, new Parameter(upload(device, stored))]));
}

/** Puts gradients where backward would add them up. */
function setGradients(group: ParameterGroup, golden: Golden, prefix: string): void {
  for (const { name, slab, offset, parameter } of group.entries) {
    const place = group.view(group.slabs[slab]!.gradients, parameter, offset);
    place.write_(golden.tensors.get(prefix + name)!.data);
    place.dispose();
  }
}

describe("optimisers", () => {
  test.each(rows(Object.keys(OPTIMISERS)))("%s tier: %s", async (tier, name) => {
    const device = await testDevice(tier);
    const golden = readGolden(name);
    const { lr, betas, eps, weight_decay, steps } = golden.config;
    const group = packed(device, golden, "param.");
    const options = { lr, betas, eps, weightDecay: weight_decay } as AdamOptions;
    const optimizer = new OPTIMISERS[name]!(group, options);
    const check = async (key: string, t: Tensor): Promise<void> => {
      expect(relativeError(await t.data(), golden.tensors.get(key)!.data), key).toBeLessThanOrEqual(1e-5);
    };
    for (let step = 1; step <= (steps as number); step++) {
      setGradients(group, golden, `input.step${step}.grad.`);
      optimizer.step();
      for (const { name: key, parameter } of group.entries) await check(`output.step${step}.${key}`, parameter);
    }
    // Second moments are squares of small numbers: relativeError's floor would hide them.
    for (const [key, t] of optimizer.state()) {
      const expected = golden.tensors.get(`output.${key}`)!.data;
      const largest = distance(expected, new Float32Array(expected.length));
      expect(distance(await t.data(), expected) / largest, key).toBeLessThanOrEqual(1e-5);
      t.dispose();
    }
    optimizer.dispose();
    for (const { parameter } of group.entries) parameter.dispose();
    group.dispose();
  });

  test.each(rows(CLIPPING))("%s tier: %s", async (tier, name) => {
    const device = await testDevice(tier);
    const golden = readGolden(name);
    const group = packed(device, golden, "input.grad.");
    setGradients(group, golden, "input.grad.");
    const optimizer = new AdamW(group, { maxNorm: golden.config["max_norm"] as number });
    const [coefficient, finite, norm] = await optimizer.step().control.data();
    expect(finite).toBe(1);
    expect(norm).toBeCloseTo(golden.tensors.get("output.total_norm")!.data[0]!, 5);
    for (const [key, { data }] of part(golden, "output.grad.")) {
      const clipped = golden.tensors.get(`input.grad.${key}`)!.data.map((g) => g * coefficient!);
      expect(relativeError(clipped, data), key).toBeLessThanOrEqual(1e-5);
    }
    optimizer.dispose();
    for (const { parameter } of group.entries) parameter.dispose();
    group.dispose();
  });
});
