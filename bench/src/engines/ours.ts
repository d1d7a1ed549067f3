/** This engine as its users call it: forward ops, the tape, packed parameters and the fused optimisers. */
import { Adam, AdamW, backward, grad, ParameterGroup, requireGrad } from "@refl/autograd";
import {
  conv2d,
  crossEntropy,
  type Device,
  embedding,
  groupNorm,
  keep,
  layerNorm,
  resize,
  scaledDotProductAttention,
  scope,
  softmax,
  type Tensor,
  tensor,
  upsampleNearest2x,
} from "@refl/tensor";
import { ADAMW, MLP_STEPS } from "../reference/reference.ts";
import type { HostArray, Work } from "../work.ts";
import type { Engine, Program } from "./engine.ts";

type Tensors = Record<string, Tensor>;
/** A work that is one function of its inputs. */
export type Pure = Exclude<Work, { op: "mlp" } | { op: "adamw" }>;

export function ours(device: Device, version: string): Engine {
  return {
    name: "refl",
    version,
    sync: () => device.sync(),
    prepare: async (work, inputs) => {
      if (device.tuner?.mode === "online") {
        // Measured on a program of its own, since a step changes its state.
        const trial = prepare(device, work, inputs);
        await trial.run();
        await device.settleTuning();
        await trial.dispose();
      }
      const program = prepare(device, work, inputs);
      return device.capabilities.timestamps ? { ...program, kernels: () => kernelsOf(device, program) } : program;
    },
    dispose: () => {},
  };
}

async function kernelsOf(device: Device, program: Program): Promise<string[]> {
  const times = await device.profile(() => program.run());
  const whole = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  return times.filter(({ milliseconds }) => milliseconds >= whole / 10).map(({ name }) => name);
}

/** A work on this engine. */
export function prepare(device: Device, work: Work, inputs: Record<string, HostArray>): Program {
  const placed: Tensors = {};
  for (const [name, { data, shape }] of Object.entries(inputs)) placed[name] = keep(tensor(device, data, [...shape]));
  if (work.op === "mlp") return mlp(work, placed);
  if (work.op === "adamw") return adamw(placed);
  const dispose = (): void => {
    for (const t of Object.values(placed)) t.dispose();
  };
  if (work.op === "conv" && work.part !== "forward") {
    const leaf = work.part === "dX" ? "x" : "w";
    return gradients(work, placed, [leaf], dispose);
  }
  if (work.part === "backward") return gradients(work, placed, ["a", "b"], dispose);
  const leaves = work.part === "both" ? Object.keys(placed).filter((name) => name !== "dy" && name !== "ids") : [];
  for (const name of leaves) requireGrad(placed[name]!);
  const compute = (): Tensors => {
    const y = forward(work, placed);
    if (work.part === "forward") return { y };
    const found = grad(
      y,
      leaves.map((name) => placed[name]!),
      { gradient: placed["dy"]! },
    );
    return { y, ...Object.fromEntries(found.map((g, i) => [`d${leaves[i]}`, g])) };
  };
  return {
    run: () => scope(() => void compute()),
    read: () => readAll(scope(compute)),
    dispose,
  };
}

/** Gradients alone, of a product recorded once. */
function gradients(work: Pure, placed: Tensors, leaves: readonly string[], dispose: () => void): Program {
  const inputs = leaves.map((name) => requireGrad(placed[name]!));
  const y = keep(forward(work, placed));
  const compute = (): Tensors => {
    const found = grad(y, inputs, { gradient: placed["dy"]!, retainGraph: true });
    return Object.fromEntries(found.map((g, i) => [`d${leaves[i]}`, g]));
  };
  return {
    run: () => scope(() => void compute()),
    read: () => readAll(scope(compute)),
    dispose: () => {
      y.dispose();
      dispose();
    },
  };
}

async function readAll(tensors: Tensors): Promise<Record<string, ArrayLike<number>>> {
  const arrays: Record<string, ArrayLike<number>> = {};
  for (const [name, t] of Object.entries(tensors)) {
    arrays[name] = (await t.data()) as ArrayLike<number>;
    t.dispose();
  }
  return arrays;
}

export function forward(work: Pure, t: Tensors): Tensor {
  switch (work.op) {
    case "matmul": {
      const a = work.transA ? t["a"]!.transpose(-2, -1) : t["a"]!;
      return a.matmul(work.transB ? t["b"]!.transpose(-2, -1) : t["b"]!);
    }
    case "conv":
      return conv2d(t["x"]!, t["w"]!, null, { stride: work.stride, padding: work.padding });
    case "softmax":
      return softmax(t["x"]!);
    case "layerNorm":
      return layerNorm(t["x"]!, t["weight"]!, t["bias"]!);
    case "groupNorm":
      return groupNorm(t["x"]!, work.groups, t["weight"]!, t["bias"]!, 1e-5, work.silu ? "silu" : "none");
    case "gelu":
      return t["x"]!.gelu();
    case "attention":
      return scaledDotProductAttention(t["q"]!, t["k"]!, t["v"]!);
    case "embedding":
      return embedding(t["table"]!, t["ids"]!);
    case "bicubic":
      return resize(t["x"]!, [work.size, work.size], { mode: "bicubic" });
    case "upsample":
      return upsampleNearest2x(t["x"]!);
    case "sum":
      return work.axis === "all" ? t["x"]!.sum() : t["x"]!.sum(work.axis);
    case "vitBlock": {
      const { tokens, width, heads } = work;
      const qkv = layerNorm(t["x"]!, t["g1"]!, t["b1"]!).matmul(t["wqkv"]!);
      const [q, k, v] = qkv
        .reshape(1, tokens, 3, heads, width / heads)
        .permute(2, 0, 3, 1, 4)
        .chunk(3, 0) as [Tensor, Tensor, Tensor];
      const mixed = scaledDotProductAttention(q.squeeze(0), k.squeeze(0), v.squeeze(0));
      const x = t["x"]!.add(mixed.permute(0, 2, 1, 3).reshape(tokens, width).matmul(t["wproj"]!));
      const hidden = layerNorm(x, t["g2"]!, t["b2"]!).matmul(t["wup"]!).gelu();
      return x.add(hidden.matmul(t["wdown"]!));
    }
    case "unetBlock": {
      const first = groupNorm(t["x"]!, work.groups, t["g1"]!, t["b1"]!, 1e-5, "silu");
      const middle = conv2d(first, t["w1"]!, null, { padding: 1 });
      const second = groupNorm(middle, work.groups, t["g2"]!, t["b2"]!, 1e-5, "silu");
      return t["x"]!.add(conv2d(second, t["w2"]!, null, { padding: 1 }));
    }
  }
}

/** Training steps with packed parameters; the check reads the losses of the first steps. */
function mlp(work: Work & { op: "mlp" }, t: Tensors): Program {
  const layers = work.widths.length - 1;
  const names = Object.keys(t).filter((name) => /^[wb]\d/.test(name));
  for (const name of names) requireGrad(t[name]!);
  const group = new ParameterGroup(names.map((name) => [name, t[name]!] as const));
  const optimizer = new Adam(group, { lr: 1e-3 });
  const step = (): Tensor =>
    scope(() => {
      let x = t["x"]!;
      for (let i = 1; i <= layers; i++) {
        x = x.matmul(t[`w${i}`]!).add(t[`b${i}`]!);
        if (i < layers) x = x.relu();
      }
      const loss = crossEntropy(x, t["classes"]!);
      optimizer.zeroGrad();
      backward(loss);
      optimizer.step();
      return loss.detach();
    });
  return {
    run: () => step().dispose(),
    read: async () => {
      const losses: number[] = [];
      for (let i = 0; i < MLP_STEPS; i++) {
        const loss = step();
        losses.push(await loss.item());
        loss.dispose();
      }
      return { loss: losses };
    },
    dispose: () => {
      optimizer.dispose();
      group.dispose();
      for (const x of Object.values(t)) x.dispose();
    },
  };
}

function adamw(t: Tensors): Program {
  const { lr, beta1, beta2, eps, decay } = ADAMW;
  const parameter = requireGrad(t["w"]!);
  const group = new ParameterGroup([["w", parameter]], { slabBytes: 4 * parameter.numel });
  const optimizer = new AdamW(group, { lr, betas: [beta1, beta2], eps, weightDecay: decay });
  const slab = group.slabs[0]!;
  const state = { m: optimizer.moments.first[0]!, v: optimizer.moments.second[0]! };
  const into = (target: Tensor, source: Tensor): void => {
    const part = target.slice(0, 0, source.numel);
    part.copy_(source);
    part.dispose();
  };
  into(slab.gradients, t["g"]!);
  into(state.m, t["m"]!);
  into(state.v, t["v"]!);
  for (const name of ["g", "m", "v"]) t[name]!.dispose();
  return {
    run: () => void optimizer.step(),
    read: async () => {
      optimizer.step();
      return {
        w: (await parameter.data()) as ArrayLike<number>,
        m: (await state.m.data()) as ArrayLike<number>,
        v: (await state.v.data()) as ArrayLike<number>,
      };
    },
    dispose: () => {
      optimizer.dispose();
      group.dispose();
      parameter.dispose();
    },
  };
}
