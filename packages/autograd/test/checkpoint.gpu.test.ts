/** Checkpointing: the same numbers as the plain computation, with less memory. */
import { AutogradError, type Device, scope, type Tensor, tensor } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import {
  backward,
  checkpoint,
  checkpointMany,
  grad,
  noGrad,
  Parameter,
  ParameterGroup,
  requireGrad,
  zeroGrad,
} from "../src/index.ts";
import { readAll, wave } from "./read.ts";

let device: Device;
let before: number;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  before = device.memory().storages;
});
afterEach(() => expect(device.memory().storages).toBe(before));

const WIDTH = 8;
const ROWS = 5;

function layer(phase: number): Parameter[] {
  return [
    new Parameter(tensor(device, wave(WIDTH * WIDTH, phase), [WIDTH, WIDTH])),
    new Parameter(tensor(device, wave(WIDTH, phase + 1), [WIDTH])),
  ];
}

const apply = (x: Tensor, [w, b]: readonly Tensor[]): Tensor => x.linear(w!, b!).gelu().add(x);

const input = (): Tensor => requireGrad(tensor(device, wave(ROWS * WIDTH, 5), [ROWS, WIDTH]));

type Wrap = (fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]) => Tensor;
const plain: Wrap = (fn, ...inputs) => fn(...inputs);

/** Value, input gradient and parameter gradients of `network`, with its blocks plain or checkpointed. */
function outcome(
  parameters: readonly Tensor[],
  network: (x: Tensor, wrap: Wrap) => Tensor,
  wrap: Wrap,
): Promise<number[][]> {
  return readAll(() => {
    const x = input();
    const y = network(x, wrap);
    const loss = y.square().sum();
    return [y.detach(), ...grad(loss, [x, ...parameters])];
  });
}

const NETWORKS: Record<string, (layers: Parameter[][]) => (x: Tensor, wrap: Wrap) => Tensor> = {
  "one block": (layers) => (x, wrap) => wrap((h) => layers.reduce(apply, h), x),
  "block after block": (layers) => (x, wrap) => layers.reduce((h, l) => wrap((t) => apply(t, l), h), x),
  nested: (layers) => (x, wrap) => wrap((h) => layers.reduce((t, l) => wrap((u) => apply(u, l), t), h), x),
  "nested, the inner one using the outer one's input": (layers) => (x, wrap) =>
    wrap((h) => wrap((t) => apply(t, layers[0]!).mul(h), apply(h, layers[1]!)), x.exp()),
  "two inputs, one of them twice": (layers) => (x, wrap) => {
    const h = apply(x, layers[0]!);
    return wrap((a, b, c) => a!.mul(b!).add(apply(c!, layers[1]!)), h, x, h);
  },
  "an input that is used outside, too": (layers) => (x, wrap) => {
    const h = x.exp();
    return apply(
      wrap((t) => apply(t, layers[0]!), h),
      layers[1]!,
    ).mul(h);
  },
  "one parameter in two blocks": (layers) => (x, wrap) => [0, 1].reduce((h) => wrap((t) => apply(t, layers[0]!), h), x),
};

test.each(Object.keys(NETWORKS))("%s: as the plain computation, bit for bit", async (name) => {
  const layers = [layer(0), layer(2), layer(4)];
  const parameters = layers.flat();
  const network = NETWORKS[name]!(layers);
  expect(await outcome(parameters, network, checkpoint)).toEqual(await outcome(parameters, network, plain));
  for (const p of parameters) p.dispose();
});

type WrapMany = (fn: (...inputs: Tensor[]) => readonly Tensor[], ...inputs: Tensor[]) => readonly Tensor[];

const SEVERAL: Record<string, (layers: Parameter[][]) => (x: Tensor, wrap: WrapMany) => Tensor> = {
  "two results, both used": (layers) => (x, wrap) => {
    const [a, b] = wrap((h) => [apply(h!, layers[0]!), apply(h!, layers[1]!).exp()], x.exp());
    return a!.mul(b!).add(a!);
  },
  "two results, one of them unused": (layers) => (x, wrap) =>
    wrap((h) => [apply(h!, layers[0]!), apply(h!, layers[1]!)], x)[1]!,
  "a result that is an input and one that needs no gradient": (layers) => (x, wrap) => {
    const [same, constant, made] = wrap((h, k) => [h!, h!.detach(), apply(k!, layers[0]!)], x.exp(), x);
    return same!.mul(constant!).add(made!);
  },
  "bands through blocks, within a block": (layers) => (x, wrap) => {
    const block = (bands: readonly Tensor[], l: readonly Tensor[]): readonly Tensor[] =>
      wrap((...given) => given.map((band, i) => apply(band, l).add(given[1 - i]!.mean())), ...bands);
    const [joined] = wrap((h) => {
      const [a, b] = layers.reduce(block, [h!.slice(0, 0, 2), h!.slice(0, 2, ROWS)]);
      return [a!.sum().add(b!.mul(2).sum())];
    }, x.mul(0.5));
    return joined!;
  },
};

test.each(Object.keys(SEVERAL))("%s: as the plain computation, bit for bit", async (name) => {
  const layers = [layer(0), layer(2), layer(4)];
  const parameters = layers.flat();
  const found = (wrap: WrapMany): Promise<number[][]> =>
    readAll(() => {
      const x = input();
      const y = SEVERAL[name]!(layers)(x, wrap);
      return [y.detach(), ...grad(y.square().sum(), [x, ...parameters])];
    });
  expect(await found(checkpointMany)).toEqual(await found((fn, ...inputs) => fn(...inputs)));
  for (const p of parameters) p.dispose();
});

test("several results are computed again once, each time that the tape is walked", async () => {
  const l = layer(1);
  let calls = 0;
  const [first, second] = await readAll(() => {
    const x = input();
    const split = (h: Tensor): Tensor[] => {
      calls++;
      return apply(h, l).chunk(2, 1) as Tensor[];
    };
    const [a, b] = checkpointMany((h) => split(h!), x);
    const loss = a!.mul(b!).sum();
    return [...grad(loss, [x], { retainGraph: true }), ...grad(loss, [x])];
  });
  expect(second).toEqual(first);
  expect(calls).toBe(3);
  for (const p of l) p.dispose();
});

test("backward() adds to packed and unpacked parameters' gradients", async () => {
  const layers = [layer(0), layer(2)];
  const named = layers.flat().map((p, i) => [`p${i}`, p] as const);
  const run = (wrap: Wrap): void =>
    scope(() => backward(layers.reduce((h, l) => wrap((t) => apply(t, l), h), input()).sum()));
  const gradients = () => Promise.all(named.map(async ([, p]) => Array.from(await p.grad!.data())));
  run(plain);
  const expected = await gradients();
  zeroGrad(layers.flat());
  run(checkpoint);
  expect(await gradients()).toEqual(expected);
  const group = new ParameterGroup(named);
  run(checkpoint);
  expect(await gradients()).toEqual(expected);
  run(checkpoint);
  expect(await gradients()).toEqual(expected.map((g) => g.map((v) => 2 * v)));
  group.dispose();
  for (const [, p] of named) p.dispose();
});

test("retainGraph computes again each time", async () => {
  const l = layer(1);
  const [first, second] = await readAll(() => {
    const x = input();
    const loss = checkpoint((h) => apply(h, l), x).sum();
    return [...grad(loss, [x], { retainGraph: true }), ...grad(loss, [x])];
  });
  expect(second).toEqual(first);
  for (const p of l) p.dispose();
});

test("frozen parameters and inputs without gradients stay constants", () => {
  const l = layer(1);
  for (const p of l) p.requiresGrad = false;
  scope(() => {
    const constant = tensor(device, wave(ROWS * WIDTH), [ROWS, WIDTH]);
    expect(checkpoint((h) => apply(h, l), constant).history).toBeNull();
    l[0]!.requiresGrad = true;
    const y = checkpoint((h) => apply(h, l), constant);
    expect(y.history).not.toBeNull();
    expect(grad(y.sum(), [l[0]!])[0]!.shape).toEqual([WIDTH, WIDTH]);
  });
  for (const p of l) p.dispose();
});

test("under noGrad() it is a plain call", () => {
  const l = layer(1);
  scope(() => {
    const y = noGrad(() => checkpoint((h) => apply(h, l), input()));
    expect(y.history).toBeNull();
  });
  for (const p of l) p.dispose();
});

test("a function that returns its input or a parameter changes neither's history", async () => {
  const l = layer(1);
  const [dx, dw] = await readAll(() => {
    const x = input();
    const history = x.history;
    const same = checkpoint((h) => h, x);
    const weight = checkpoint(() => l[0]!, x);
    expect(x.history).toBe(history);
    expect(l[0]!.history).toBe(l[0]!.leaf);
    return grad(same.sum().add(weight.mul(3).sum()), [x, l[0]!]);
  });
  expect(new Set(dx)).toEqual(new Set([1]));
  expect(new Set(dw)).toEqual(new Set([3]));
  for (const p of l) p.dispose();
});

test("a tensor computed outside must be passed in", () => {
  scope(() => {
    const x = input();
    const outside = x.exp();
    expect(() => checkpoint((h) => h.mul(outside), x)).toThrow(AutogradError);
    expect(() => checkpoint(() => outside, x)).toThrow(/pass it as an input/);
    expect(checkpoint((h) => h.mul(outside.detach()), x).history).not.toBeNull();
  });
});

test("an error inside, forwards or on the way back, leaves nothing behind", () => {
  const l = layer(1);
  let calls = 0;
  const failing = (limit: number) => (h: Tensor) => {
    const y = apply(h, l);
    if (++calls > limit) throw new Error("stop");
    return y;
  };
  expect(() => scope(() => checkpoint(failing(0), input()))).toThrow("stop");
  calls = 0;
  expect(() => scope(() => backward(checkpoint(failing(1), input()).sum()))).toThrow("stop");
  for (const p of l) p.dispose();
});

test("a deep network's peak falls", () => {
  const layers = Array.from({ length: 12 }, (_, i) => layer(i));
  const rows = 512;
  const peak = (wrap: Wrap): number => {
    const x = tensor(device, wave(rows * WIDTH), [rows, WIDTH]);
    device.resetPeak();
    const start = device.memory().inUse;
    scope(() => backward(layers.reduce((h, l) => wrap((t) => apply(t, l), h), x).sum()));
    x.dispose();
    zeroGrad(layers.flat());
    return device.memory().peak - start;
  };
  const all = peak(plain);
  const kept = peak(checkpoint);
  // Three activations a layer are kept by the plain tape, one by the other; the rest is what a single layer needs on the way back.
  expect(kept).toBeLessThan(0.6 * all);
  for (const p of layers.flat()) p.dispose();
});
