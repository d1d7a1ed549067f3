/** Captured training steps: forward, backward, clipping, optimiser and average leave the same bits as op by op. */
import { capture, type Device, PhiloxStream, randn, scope, type Tensor, tensor } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import {
  AdamW,
  backward,
  ExponentialMovingAverage,
  emaDecay,
  gradOf,
  Parameter,
  ParameterGroup,
} from "../src/index.ts";
import { SoakRun } from "./soak.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const bitsOf = async (tensors: readonly Tensor[]): Promise<Uint32Array[]> =>
  Promise.all(tensors.map(async (t) => new Uint32Array((await t.data()).buffer)));

/** Two layers, AdamW with clipping and an average; `advance` runs its step op by op or as a plan. */
class Mlp {
  readonly group: ParameterGroup;
  readonly optimizer: AdamW;
  readonly average: ExponentialMovingAverage;
  readonly weights: Parameter[];
  step = 0;

  constructor() {
    const shapes = [[8, 16], [16], [16, 4], [4]];
    this.weights = shapes.map((shape, i) => new Parameter(randn(device, shape, new PhiloxStream(3, i), { std: 0.3 })));
    this.group = new ParameterGroup(this.weights.map((w, i) => [`w${i}`, w] as const));
    this.optimizer = new AdamW(this.group, { lr: 0.01, maxNorm: 0.5 });
    this.average = new ExponentialMovingAverage(this.group);
  }

  compute = ({ x, scale }: { readonly x: Tensor; readonly scale: Tensor }): { loss: Tensor } => {
    const [a, b, c, d] = this.weights as [Parameter, Parameter, Parameter, Parameter];
    this.optimizer.zeroGrad();
    // The first layer is used twice: its gradients are added up in the order of the walk.
    const once = x.matmul(a).add(b).gelu();
    const loss = once.add(x.neg().matmul(a).add(b).gelu()).matmul(c).add(d).sub(1).square().mean();
    backward(loss, { gradient: scale });
    this.average.apply(this.optimizer.apply());
    return { loss };
  };

  prepare(): { x: Float32Array; scale: number[] } {
    this.step++;
    this.optimizer.options.lr = 0.01 / this.step;
    this.optimizer.prepare();
    this.average.prepare(emaDecay(this.step, 0.99));
    // Step 5 meets an infinite gradient, which changes nothing.
    return {
      x: Float32Array.from({ length: 40 }, (_, i) => Math.sin(i * this.step)),
      scale: [this.step === 5 ? Number.POSITIVE_INFINITY : 1 / this.step],
    };
  }

  get state(): Tensor[] {
    const { first, second } = this.optimizer.moments;
    const slabs = this.group.slabs.flatMap(({ values, gradients }) => [values, gradients]);
    return [...slabs, ...first, ...second, ...this.average.averages];
  }

  dispose(): void {
    for (const part of [this.average, this.optimizer, this.group, ...this.weights]) part.dispose();
  }
}

describe("a captured training step", () => {
  it("is the step op by op, bit for bit: an MLP with a step that is refused", async () => {
    const { inUse } = device.memory();
    const eager = new Mlp();
    const replayed = new Mlp();
    const inputs = { x: { shape: [5, 8] }, scale: { shape: [] } } as const;
    const plan = capture(device, inputs, replayed.compute);
    for (let i = 0; i < 10; i++) {
      const { x, scale } = eager.prepare();
      const expected = scope(() =>
        eager.compute({ x: tensor(device, x, [5, 8]), scale: tensor(device, scale, []) }).loss.detach(),
      );
      const { loss } = plan.replay(replayed.prepare());
      const [there, here] = [await bitsOf([expected, ...eager.state]), await bitsOf([loss, ...replayed.state])];
      expect(here).toEqual(there);
      expected.dispose();
      if (i === 6) plan.verify();
    }
    plan.dispose();
    eager.dispose();
    replayed.dispose();
    expect(device.memory().inUse).toBe(inUse);
  });

  it("is the step op by op, bit for bit: convolution, norms, attention and a checkpoint", async () => {
    const eager = new SoakRun(device, false);
    const replayed = new SoakRun(device, true);
    for (let i = 0; i < 10; i++) {
      const losses = [eager.step(), replayed.step()] as const;
      const there = await bitsOf([losses[0], ...eager.state]);
      expect(await bitsOf([losses[1], ...replayed.state])).toEqual(there);
      for (const loss of losses) loss.dispose();
    }
    eager.dispose();
    replayed.dispose();
  });

  it("writes gradients of leaves that are not packed anew each time", async () => {
    const weight = new Parameter(tensor(device, [1, 2, 3]));
    const plan = capture(device, { x: { shape: [3] } }, ({ x }) => {
      weight.leaf.clear();
      backward(weight.mul(x).sum());
      return {};
    });
    for (const x of [
      [4, 5, 6],
      [7, 8, 9],
    ]) {
      plan.replay({ x });
      expect([...(await gradOf(weight)!.data())]).toEqual(x);
    }
    plan.dispose();
    weight.dispose();
  });
});
