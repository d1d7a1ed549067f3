/** A small network with every kind of layer and its training loop, for the tests that run it long enough to show a leak. */
import {
  conv2d,
  type Device,
  groupNorm,
  keep,
  layerNorm,
  PhiloxStream,
  randn,
  type Shape,
  scaledDotProductAttention,
  scope,
  type Tensor,
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

type Name = keyof typeof SHAPES;

/** conv → group norm, SiLU → conv → attention with a residual → layer norm → linear; the goal is the picture without its noise. */
export class SoakRun {
  readonly #device: Device;
  readonly #weights: Readonly<Record<Name, Parameter>>;
  readonly #group: ParameterGroup;
  readonly #optimizer: AdamW;
  readonly #average: ExponentialMovingAverage;
  #step = 0;

  constructor(device: Device) {
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

  /** One training step. The loss stays on the device; the caller disposes of it. */
  step(): Tensor {
    this.#step++;
    const shape = [BATCH, 3, 4, 4];
    const stream = new PhiloxStream(2, this.#step);
    const loss = scope(() => {
      const noise = randn(this.#device, shape, stream);
      // A picture is a plane of one colour, which the noise hides.
      const colours = randn(this.#device, [BATCH, 3, 1, 1], new PhiloxStream(3, this.#step));
      const found = this.#network(noise.mul(0.5).add(colours));
      const squares = found.sub(colours).square().mean();
      backward(squares);
      return keep(squares.detach());
    });
    this.#optimizer.step();
    this.#optimizer.zeroGrad();
    this.#average.update(emaDecay(this.#step, 0.999));
    return loss;
  }

  dispose(): void {
    this.#average.dispose();
    this.#optimizer.dispose();
    this.#group.dispose();
    for (const weight of Object.values(this.#weights)) weight.dispose();
  }
}
