/** The race detector finds nothing in the portable matrix product, and does find a barrier that is taken away. */
import { describe, expect, test } from "vitest";
import { boundBuffers, type Defines, expand, gemmGrid, gemmTiled } from "../src/index.ts";
import { findRaces } from "./detect.ts";
import { variantName } from "./kernels.ts";

/** C = A B, by default over 2 × 2 workgroups whose last ones hang over both edges, in two slices of k. */
function product(defines: Defines, text: string, grid = gemmGrid.tiled(70, 66, 1)): { races: string[]; error: number } {
  const [m, n, k] = [70, 66, 20];
  const fill = (length: number, f: (x: number) => number): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length }, (_, i) => f(i));
  const named = {
    a: fill(m * k, Math.sin),
    b: fill(k * n, Math.cos),
    bias: new Float32Array(n),
    c: new Float32Array(m * n),
  };
  const strides = { rowA: k, colA: 1, rowB: n, colB: 1, offsetBias: 0, biasRow: 0, biasCol: 1 };
  const races = findRaces(gemmTiled, text, {
    buffers: boundBuffers(gemmTiled, defines).map(([name]) => named[name as keyof typeof named].buffer),
    params: { m, n, k, offsetA: 0, offsetB: 0, offsetC: 0, batchA: 0, batchB: 0, batchC: 0, ...strides },
    grid,
  });
  let error = 0;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let q = 0; q < k; q++) sum += named.a[i * k + q]! * named.b[q * n + j]!;
      error = Math.max(error, Math.abs(sum - named.c[i * n + j]!));
    }
  }
  return { races, error };
}

describe("gemm_tiled", { timeout: 180_000 }, () => {
  const plain = gemmTiled.variants[0];
  const text = expand(gemmTiled, plain);

  test(variantName(gemmTiled, plain), () => {
    const { races, error } = product(plain, text);
    expect(races).toEqual([]);
    expect(error).toBeLessThan(1e-5);
  });

  test.for([0, 1])("without its barrier %i it has races on both tiles", (removed) => {
    let at = 0;
    const mutant = text.replace(/workgroupBarrier\(\);/g, (barrier) => (at++ === removed ? "" : barrier));
    expect(at).toBe(2);
    const { races } = product(plain, mutant, [1, 2, 1]);
    expect(races.some((race) => race.startsWith("tileA: "))).toBe(true);
    expect(races.some((race) => race.startsWith("tileB: "))).toBe(true);
  });

  test("threads that return before a barrier are an error", () => {
    const mutant = text.replace("workgroupBarrier();", "if (row0 + lid >= p.m) {\nreturn;\n}\nworkgroupBarrier();");
    expect(product(plain, mutant, [1, 2, 1]).races.join()).toContain("Barrier divergence");
  });
});
