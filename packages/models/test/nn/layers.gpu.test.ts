/** Layers on a device: loading and saving weights, freezing, scopes, dropout, recomputation and adapters. */
import { backward, gradOf, noGrad } from "@refl/autograd";
import { CheckpointError, type Device, ones, PhiloxStream, ShapeError, scope, type Tensor, tensor } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { UNet2DConditionModel } from "../../src/models/unet.ts";
import { Dropout, DropPath } from "../../src/nn/dropout.ts";
import { Embedding } from "../../src/nn/embedding.ts";
import { Linear } from "../../src/nn/linear.ts";
import { addLora } from "../../src/nn/lora.ts";
import { Module } from "../../src/nn/module.ts";
import { withRandom } from "../../src/nn/random.ts";
import { recomputed } from "../../src/nn/recompute.ts";

let device: Device;
let before: number;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  before = device.memory().inUse;
});

const owned: Disposable[] = [];
/** Disposed at the end of the test, after which no memory may be left. */
function own<T extends Disposable>(value: T): T {
  owned.push(value);
  return value;
}
afterEach(() => {
  for (const value of owned.splice(0)) value[Symbol.dispose]();
  expect(device.memory().inUse).toBe(before);
});

class Mlp extends Module<[x: Tensor], Tensor> {
  readonly first = new Linear(3, 8);
  readonly dropout: Dropout;
  readonly second = new Linear(8, 2);

  constructor(p = 0) {
    super();
    this.dropout = new Dropout(p);
  }

  protected override compute(x: Tensor): Tensor {
    return this.second.forward(this.dropout.forward(this.first.forward(x, "gelu")));
  }
}

async function values(x: Tensor): Promise<number[]> {
  return [...(await x.data())];
}

/** A result without history. */
function infer(fn: () => Tensor): Tensor {
  return noGrad(() => scope(fn));
}

describe("weights", () => {
  test("depend on seed and key alone", async () => {
    const [a, again, other] = [1, 1, 2].map((seed) => own(new Mlp().initialize(device, seed)));
    const first = await values(a!.first.weight.value);
    expect(await values(again!.first.weight.value)).toEqual(first);
    expect(await values(other!.first.weight.value)).not.toEqual(first);
    class Longer extends Mlp {
      readonly third = new Linear(1, 1);
      readonly earlier = new Linear(2, 2);
    }
    expect(await values(own(new Longer().initialize(device, 1)).first.weight.value)).toEqual(first);
  });

  test("go to entries and back, all or nothing", async () => {
    const a = own(new Mlp().initialize(device, 1));
    const b = own(new Mlp());
    const entries = new Map((await a.entries()).map((entry) => [entry.name, entry]));
    expect([...entries.keys()]).toEqual(["first.weight", "first.bias", "second.weight", "second.bias"]);
    expect(() => b.loadStateDict(entries)).toThrow(/pass the device/);
    b.loadStateDict(entries, { device });
    expect(await values(b.second.bias!.value)).toEqual(await values(a.second.bias!.value));
    const without = new Map([...entries].filter(([key]) => key !== "second.bias"));
    const other = own(new Mlp().initialize(device, 3));
    const start = await values(other.first.weight.value);
    expect(() => other.loadStateDict(without, { file: "f" })).toThrow(
      new CheckpointError("f", "does not fit the model: 1 missing: second.bias", { missing: ["second.bias"] }),
    );
    expect(await values(other.first.weight.value)).toEqual(start);
    expect(other.loadStateDict(without, { strict: false })).toEqual({ missing: ["second.bias"], unexpected: [] });
    expect(await values(other.first.weight.value)).toEqual(await values(a.first.weight.value));
    other.loadStateDict(b.stateDict());
    expect(await values(other.second.bias!.value)).toEqual(await values(a.second.bias!.value));
  });

  test("frozen ones get no gradient and record nothing", async () => {
    const model = own(new Mlp().initialize(device, 1));
    model.first.requiresGrad(false);
    scope(() => backward(model.forward(ones(device, [2, 3])).sum()));
    expect(gradOf(model.first.weight.value)).toBeNull();
    expect(gradOf(model.second.weight.value)).not.toBeNull();
    expect(model.trainableParameters()).toEqual([model.second.weight.value, model.second.bias!.value]);
    model.requiresGrad(false);
    scope(() => expect(model.forward(ones(device, [2, 3])).history).toBeNull());
  });
});

test("errors name the module", () => {
  const model = own(new Mlp().initialize(device, 1));
  expect(() => scope(() => model.forward(ones(device, [2, 4])))).toThrow(/\(in first, a Linear\)$/);
  const table = own(new Embedding(3, 2).initialize(device, 1));
  expect(() => table.first(4)).toThrow(ShapeError);
});

test("a padding row is looked up and never learns", async () => {
  const table = own(new Embedding(3, 2, undefined, { paddingIndex: 1 }).initialize(device, 1));
  const ids = own(tensor(device, [0, 1, 1, 2, 2], [5], "i32"));
  const found = own(infer(() => table.forward(ids)));
  const rows = await values(table.weight.value);
  expect(await values(found)).toEqual([0, 1, 1, 2, 2].flatMap((row) => rows.slice(2 * row, 2 * row + 2)));
  scope(() => backward(table.forward(ids).sum()));
  expect(await values(gradOf(table.weight.value)!)).toEqual([1, 1, 0, 0, 2, 2]);
});

describe("dropout", () => {
  test("does nothing outside training and needs a stream inside", async () => {
    const model = own(new Mlp(0.5).initialize(device, 1));
    const x = own(ones(device, [4, 3]));
    expect(() => scope(() => model.forward(x))).toThrow(/withRandom/);
    const plain = own(infer(() => model.eval().forward(x)));
    const without = own(new Mlp().initialize(device, 1));
    expect(await values(plain)).toEqual(await values(own(infer(() => without.forward(x)))));
  });

  test("masks are functions of the stream and the path, and recomputation sees the same", async () => {
    const model = own(new Mlp(0.5).initialize(device, 1));
    const x = own(ones(device, [4, 3]));
    const run = (stream: number, call: (x: Tensor) => Tensor): Tensor => {
      const loss = scope(() => {
        const made = withRandom(new PhiloxStream(1, stream), () => call(x).square().sum());
        backward(made);
        return made;
      });
      return own(loss);
    };
    const losses = [
      run(1, (t) => model.forward(t)),
      run(1, (t) => recomputed(model, t)),
      run(2, (t) => model.forward(t)),
    ];
    const [a, b, c] = await Promise.all(losses.map((loss) => loss.item()));
    expect(b).toBe(a);
    expect(c).not.toBe(a);
  });

  test("drop path drops samples whole and keeps the mean", async () => {
    const path = new DropPath(0.25);
    const x = own(ones(device, [400, 3]));
    const y = own(scope(() => withRandom(new PhiloxStream(1, 1), () => path.forward(x))));
    const found = await values(y);
    const rows = Array.from({ length: 400 }, (_, i) => found.slice(3 * i, 3 * i + 3));
    expect(rows.every((row) => row.every((v) => v === row[0]))).toBe(true);
    expect(new Set(found.map((v) => v.toFixed(4)))).toEqual(new Set(["0.0000", "1.3333"]));
    expect(found.reduce((sum, v) => sum + v, 0) / found.length).toBeCloseTo(1, 1);
  });
});

describe("adapters", () => {
  test("cover the attention of Stable Diffusion's UNet", () => {
    const channels = [320, 640, 1280, 1280];
    const adapters = addLora(new UNet2DConditionModel({ block_out_channels: channels, cross_attention_dim: 768 }), {
      rank: 4,
    });
    expect(adapters.parameterCount()).toBe(797_184);
    expect([...adapters.shapes()].slice(0, 2)).toEqual([
      ["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", [4, 320]],
      ["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight", [320, 4]],
    ]);
    expect(() => addLora(new Mlp(), { rank: 4 })).toThrow(/no linear layer/);
    expect(() => addLora(new Mlp(), { rank: 0 })).toThrow(/rank/);
  });

  test("change nothing at first, learn alone, and merge into the weights", async () => {
    const model = own(new Mlp().initialize(device, 1));
    const x = own(tensor(device, [[1, 2, -3]]));
    const plain = own(infer(() => model.forward(x)));
    model.requiresGrad(false);
    const adapters = own(addLora(model, { rank: 2, alpha: 4, targets: /^second$/ }).initialize(device, 2));
    const fresh = own(infer(() => model.forward(x)));
    expect(await values(fresh)).toEqual(await values(plain));
    scope(() => backward(model.forward(x).sum()));
    const [a, b] = adapters.parameters();
    expect([a!.shape, b!.shape]).toEqual([
      [2, 8],
      [2, 2],
    ]);
    expect((await values(gradOf(b!)!)).some((v) => v !== 0)).toBe(true);
    expect(model.parameters().every((parameter) => gradOf(parameter) === null)).toBe(true);
    b!.fill_(0.5);
    const adapted = own(infer(() => model.forward(x)));
    adapters.merge();
    const merged = own(infer(() => model.forward(x)));
    const [left, right] = [await values(adapted), await values(merged)];
    for (const [i, v] of left.entries()) expect(right[i]).toBeCloseTo(v, 5);
    expect(left).not.toEqual(await values(plain));
  });
});
