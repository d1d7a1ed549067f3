/** A small network with every kind of layer and its training loop, for the tests that run it long enough to show a leak. */
import {
  capture,
  conv2d,
  type Device,
  groupNorm,
  keep,
  layerNorm,
  PhiloxStream,
  type Plan,
  randn,
  type Shape,
  scaledDotProductAttention,
  scope,
  type Tensor,
  tensor,
} from "@refl/tensor";
import {
  AdamW,
  backward,
  checkpoint,
  ExponentialMovingAverage,
  emaDecay,
  Parameter,
  ParameterGroup,
} from "../src/index.ts";

const CHANNELS = 8;
const TOKENS = 16;
const HEADS = 2;
const BATCH = 2;

const SHAPES = {
  "conv_in.weight": [CHANNELS, 3, 3, 3],
  "conv_in.bias": [CHANNELS],
  "norm.weight": [CHANNELS],
  "norm.bias": [CHANNELS],
  "conv.weight": [CHANNELS, CHANNELS, 3, 3],
  "to_qkv.weight": [3 * CHANNELS, CHANNELS],
  "to_out.weight": [CHANNELS, CHANNELS],
  "to_out.bias": [CHANNELS],
  "norm_out.weight": [CHANNELS],
  "norm_out.bias": [CHANNELS],
  "proj_out.weight": [3, CHANNELS],
  "proj_out.bias": [3],
} satisfies Record<string, Shape>;

const WORDS = { noise: { shape: [1, 4], dtype: "u32" }, colours: { shape: [1, 4], dtype: "u32" } } as const;

type Name = keyof typeof SHAPES;

/** conv → group norm, SiLU → conv → attention with a residual → layer norm → linear; the goal is the picture without its noise. */
export class SoakRun {
  readonly #device: Device;
  readonly #weights: Readonly<Record<Name, Parameter>>;
  readonly #group: ParameterGroup;
  readonly #optimizer: AdamW;
  readonly #average: ExponentialMovingAverage;
  readonly #plan: Plan<typeof WORDS, { loss: Tensor }> | null;
  #step = 0;

  /** `replayed` captures the step and replays it. */
  constructor(device: Device, replayed: boolean) {
    this.#device = device;
    const names = Object.keys(SHAPES) as Name[];
    const entries = names.map((name, i) => {
      const shape: Shape = SHAPES[name];
      const std = shape.length > 1 ? shape.slice(1).reduce((a, b) => a * b, 1) ** -0.5 : 0.1;
      const mean = /^norm.*weight$/.test(name) ? 1 : 0;
      return [name, new Parameter(randn(device, shape, new PhiloxStream(1, i), { mean, std }), name)] as const;
    });
    this.#weights = Object.fromEntries(entries) as Record<Name, Parameter>;
    this.#group = new ParameterGroup(entries);
    this.#optimizer = new AdamW(this.#group, { lr: 3e-3, maxNorm: 1 });
    this.#average = new ExponentialMovingAverage(this.#group);
    this.#plan = replayed ? capture(device, WORDS, (inputs) => this.#compute(inputs)) : null;
  }

  #network(x: Tensor): Tensor {
    const w = this.#weights;
    const h = conv2d(x, w["conv_in.weight"], w["conv_in.bias"], { padding: 1 });
    const block = checkpoint((t) => {
      const normal = groupNorm(t, 2, w["norm.weight"], w["norm.bias"], 1e-5, "silu");
      return conv2d(normal, w["conv.weight"], null, { padding: 1, stride: 1 });
    }, h);
    const tokens = h.add(block).reshape(BATCH, CHANNELS, TOKENS).transpose(1, 2);
    const [q, k, v] = tokens
      .linear(w["to_qkv.weight"])
      .chunk(3, 2)
      .map((t) => t.reshape(BATCH, TOKENS, HEADS, CHANNELS / HEADS).transpose(1, 2)) as [Tensor, Tensor, Tensor];
    const attended = scaledDotProductAttention(q, k, v).transpose(1, 2).reshape(BATCH, TOKENS, CHANNELS);
    const mixed = tokens.add(attended.linear(w["to_out.weight"], w["to_out.bias"]));
    return layerNorm(mixed, w["norm_out.weight"], w["norm_out.bias"])
      .linear(w["proj_out.weight"], w["proj_out.bias"])
      .transpose(1, 2)
      .reshape(...x.shape);
  }

  /** The device's part of a training step: a function of random words alone. */
  #compute({ noise, colours }: Record<"noise" | "colours", Tensor>): { loss: Tensor } {
    const drawn = randn(this.#device, [BATCH, 3, 4, 4], noise);
    // A picture is a plane of one colour, which the noise hides.
    const plane = randn(this.#device, [BATCH, 3, 1, 1], colours);
    const loss = this.#network(drawn.mul(0.5).add(plane)).sub(plane).square().mean();
    backward(loss);
    const step = this.#optimizer.apply();
    this.#optimizer.zeroGrad();
    this.#average.apply(step);
    return { loss: loss.detach() };
  }

  /** One training step. The loss stays on the device; the caller disposes of it. */
  step(): Tensor {
    this.#step++;
    const [noise, colours] = [2, 3].map((seed) => Uint32Array.of(...new PhiloxStream(seed, this.#step).words, 0));
    this.#optimizer.prepare();
    this.#average.prepare(emaDecay(this.#step, 0.999));
    if (this.#plan) return this.#plan.replay({ noise: noise!, colours: colours! }).loss.alias();
    return scope(() => {
      const words = [noise, colours].map((w) => tensor(this.#device, w!, [1, 4]));
      return keep(this.#compute({ noise: words[0]!, colours: words[1]! }).loss);
    });
  }

  /** Everything that training changes. */
  get state(): Tensor[] {
    const { first, second } = this.#optimizer.moments;
    const slabs = this.#group.slabs.flatMap(({ values, gradients }) => [values, gradients]);
    return [...slabs, ...first, ...second, ...this.#average.averages];
  }

  dispose(): void {
    this.#plan?.dispose();
    this.#average.dispose();
    this.#optimizer.dispose();
    this.#group.dispose();
    for (const weight of Object.values(this.#weights)) weight.dispose();
  }
}
