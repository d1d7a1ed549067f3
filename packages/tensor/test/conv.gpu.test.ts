/** What the case tables of convolution and resampling are too small for: batches worked off in slices, the rungs against each other, refusals. */
import { expect, test } from "vitest";
import {
  apply,
  conv2d,
  PhiloxStream,
  pixelShuffle,
  pixelUnshuffle,
  randn,
  resize,
  ShapeError,
  scope,
  Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { gatheredInputGrad } from "../src/ops/conv-gather.ts";
import { implicitForward, implicitInputGrad, implicitWeightGrad } from "../src/ops/conv-implicit.ts";
import { testDevice } from "./device.ts";
import { relativeError } from "./operands.ts";

/** Values without a pattern that the window could hide. */
const wave = (count: number, step: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * step + (i % 7)));

test("a batch whose laid-out images exceed the bound gives what its halves give", async () => {
  const device = await testDevice();
  // Padded and channels-last these are 77 MiB: two slices of 5 and 4 images.
  const x = randn(device, [9, 64, 183, 181], new PhiloxStream(5));
  const weight = tensor(device, wave(4 * 64 * 9, 0.71), [4, 64, 3, 3]);
  const attrs = { stride: [3, 3], padding: [1, 1] } as const;
  const parts = [x.slice(0, 0, 4), x.slice(0, 4, 9)];
  const whole = scope(() => conv2d(x, weight, null, attrs));
  const halves = scope(() => parts.map((part) => conv2d(part, weight, null, attrs)));
  const found = await whole.data();
  const expected = [...(await halves[0]!.data()), ...(await halves[1]!.data())];
  expect(relativeError(found, expected)).toBe(0);

  const kernel = [3, 3] as const;
  const dW = scope(() => apply("conv2dWeightGrad", [whole, x], { ...attrs, kernel }));
  const sum = scope(() => {
    const each = parts.map((part, i) => apply("conv2dWeightGrad", [halves[i]!, part], { ...attrs, kernel }));
    return each[0]!.add(each[1]!);
  });
  expect(relativeError(await dW.data(), await sum.data())).toBeLessThan(1e-5);

  for (const t of [x, weight, whole, ...parts, ...halves, dW, sum]) t.dispose();
  device.trim();
});

test("a strided input gradient whose windows exceed the bound gives what parts of the channels give", async () => {
  const device = await testDevice();
  // The windows of one image are 81 MiB: two slices of the nine channel groups, an image each.
  const gradient = tensor(device, wave(2 * 256 * 256 * 2, 0.37), [2, 2, 256, 256]);
  const weight = tensor(device, wave(2 * 33 * 9, 0.71), [2, 33, 3, 3]);
  const attrs = { stride: [2, 2], padding: [1, 1], size: [511, 511] } as const;
  const whole = scope(() => apply("conv2dInputGrad", [gradient, weight], attrs));
  const last = scope(() => apply("conv2dInputGrad", [gradient.slice(0, 1), weight.slice(1, 24, 33)], attrs));
  const tail = whole.slice(0, 1).slice(1, 24, 33);
  expect(relativeError(await tail.data(), await last.data())).toBe(0);
  for (const t of [gradient, weight, whole, last, tail]) t.dispose();
  device.trim();
});

test("a strided input gradient of many channels, made phase by phase and in slices, equals what the windows' products gather", async () => {
  const device = await testDevice();
  // dY laid out channels-last is 69 MiB: two slices of an image each. The phases across differ in their positions of the window.
  const gradient = randn(device, [2, 128, 256, 270], new PhiloxStream(8));
  const weight = randn(device, [128, 64, 3, 3], new PhiloxStream(9));
  const window = { stride: [1, 2], padding: [1, 1] } as const;
  const size = [256, 539] as const;
  const g = { batch: 2, cin: 64, height: 256, width: 539, cout: 128, kernel: [3, 3], out: [256, 270] } as const;
  const found = scope(() => apply("conv2dInputGrad", [gradient, weight], { ...window, size }));
  const expected = Tensor.empty(device, found.shape);
  scope(() => gatheredInputGrad({ ...g, ...window }, { gradient, weight }, expected));
  const off = scope(() => found.sub(expected).abs().amax().div(expected.abs().amax()));
  expect((await off.data())[0]).toBeLessThan(1e-6);
  for (const t of [gradient, weight, found, expected, off]) t.dispose();
  device.trim();
});

test("the portable rung equals the chosen one, with parts of k", async () => {
  const device = await testDevice();
  const attrs = { stride: [1, 1], padding: [1, 1] } as const;
  const g = { batch: 3, cin: 5, height: 20, width: 20, cout: 6, kernel: [3, 3], out: [20, 20], ...attrs } as const;
  const x = tensor(device, wave(3 * 5 * 400, 0.3), [3, 5, 20, 20]);
  const weight = tensor(device, wave(6 * 5 * 9, 0.9), [6, 5, 3, 3]);
  const gradient = tensor(device, wave(3 * 6 * 400, 0.5), [3, 6, 20, 20]);
  const made = [gradient, x, weight].map((t) => Tensor.empty(device, t.shape));
  scope(() => {
    implicitForward(g, { x, weight, bias: null }, made[0]!);
    implicitInputGrad(g, { gradient, weight }, made[1]!);
    implicitWeightGrad(g, { gradient, x }, made[2]!);
  });
  const chosen = scope(() => [
    conv2d(x, weight, null, attrs),
    apply("conv2dInputGrad", [gradient, weight], { ...attrs, size: [20, 20] }),
    apply("conv2dWeightGrad", [gradient, x], { ...attrs, kernel: [3, 3] }),
  ]);
  for (let i = 0; i < 3; i++) expect(relativeError(await made[i]!.data(), await chosen[i]!.data())).toBeLessThan(1e-5);
  for (const t of [x, weight, gradient, ...made, ...chosen]) t.dispose();
});

test("misfits are refused with the sizes that would fit", async () => {
  const device = await testDevice();
  const message = (fn: () => unknown): string => {
    try {
      fn();
    } catch (error) {
      expect(error).toBeInstanceOf(ShapeError);
      return (error as Error).message;
    }
    return "no error";
  };
  const x = zeros(device, [1, 3, 4, 4]);
  const weight = zeros(device, [2, 3, 5, 5]);
  expect(message(() => conv2d(x, zeros(device, [2, 4, 3, 3])))).toContain("x has 3 channels, the weight takes 4");
  expect(message(() => conv2d(x, weight))).toContain("a window of 5 x 5 does not fit an image of 4 x 4");
  expect(message(() => conv2d(x, weight, zeros(device, [3]), { padding: 2 }))).toContain("the bias must be [2]");
  expect(message(() => conv2d(x, weight, null, { stride: 0, padding: 2 }))).toContain("stride [0, 0]");
  expect(message(() => conv2d(x, weight, null, { padding: -1 }))).toContain("padding [-1, -1]");
  expect(message(() => resize(x, [0, 3], { mode: "bicubic" }))).toContain("must be positive");
  expect(message(() => pixelShuffle(x, 2))).toContain("a multiple of 2 * 2");
  expect(message(() => pixelUnshuffle(x, 3))).toContain("multiples of 3");
  expect(resize(x, [4, 4], { mode: "bilinear" })).toBe(x);
});

test("weight tables are made once per size", async () => {
  const device = await testDevice();
  const x = zeros(device, [1, 1, 6, 6]);
  const run = (): void => scope(() => void resize(x, [4, 5], { mode: "bicubic", antialias: true }));
  run();
  const before = device.memory().storages;
  run();
  expect(device.memory().storages).toBe(before);
  x.dispose();
});
