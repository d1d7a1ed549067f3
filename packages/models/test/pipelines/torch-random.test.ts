/** PyTorch's normal numbers against PyTorch (`reference/`), to the last places that its approximations leave. */
import { TorchGenerator, torchRandn } from "@refl/models";
import { DataError } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { Golden, goldenConfig } from "../models/golden.ts";

interface Config {
  draws: Record<string, { seed: number; shapes: number[][] }>;
  picture: { seed: number; shape: number[]; stride: number };
}

const { draws, picture } = goldenConfig("torch_randn") as unknown as Config;
let golden: Golden;
beforeAll(async () => {
  golden = await Golden.open("torch_randn");
});

function expectClose(found: Float32Array, expected: Float32Array): void {
  expect(found.length).toBe(expected.length);
  for (const [i, value] of found.entries()) expect(Math.abs(value - expected[i]!), `[${i}]`).toBeLessThan(2e-6);
}

describe("torch.randn", () => {
  it.each(Object.keys(draws))("%s: draws the same numbers, one draw after the other", (name) => {
    const { seed, shapes } = draws[name]!;
    const generator = new TorchGenerator(seed);
    for (const [i, shape] of shapes.entries()) expectClose(generator.randn(shape), golden.values(`${name}.${i}`));
  });

  it("draws Stable Diffusion's latents", () => {
    const found = torchRandn(picture.seed, picture.shape);
    expectClose(
      found.filter((_, i) => i % picture.stride === 0),
      golden.values("picture"),
    );
    const mean = found.reduce((sum, x) => sum + x, 0) / found.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
  });

  it("refuses seeds that are no integers", () => {
    for (const seed of [0.5, Number.NaN, 2 ** 60]) expect(() => torchRandn(seed, [1])).toThrow(DataError);
    expect(torchRandn(3, [0]).length).toBe(0);
  });
});
