import { expect, test } from "vitest";
import { cat, ones, pad, scope, tensor } from "../src/index.ts";
import { testDevice } from "./device.ts";

test("elementwise, reduce, matmul, views", async () => {
  for (const tier of ["full", "portable"] as const) {
    const device = await testDevice(tier);
    const x = tensor(device, [
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect([...(await x.add(1).mul(x).data())]).toEqual([2, 6, 12, 20, 30, 42]);
    expect([...(await x.transpose(0, 1).contiguous().data())]).toEqual([1, 4, 2, 5, 3, 6]);
    expect([...(await x.sum(0).data())]).toEqual([5, 7, 9]);
    expect([...(await x.mean(1).data())]).toEqual([2, 5]);
    expect(await x.var().item()).toBeCloseTo(3.5);
    expect([...(await x.matmul(x.transpose(0, 1)).data())]).toEqual([14, 32, 32, 77]);
    expect([...(await cat([x, x.slice(1, 0, 1)], 1).data())]).toEqual([1, 2, 3, 1, 4, 5, 6, 4]);
    expect([...(await pad(x, [1, 0]).data())]).toEqual([0, 1, 2, 3, 0, 4, 5, 6]);
    const m = 37,
      k = 24,
      n = 36;
    const av = Float32Array.from({ length: m * k }, (_, i) => Math.sin(i)),
      bv = Float32Array.from({ length: k * n }, (_, i) => Math.cos(i * 0.7));
    const A = tensor(device, av, [m, k]),
      B = tensor(device, bv, [k, n]);
    const ref = new Float64Array(m * n);
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) for (let q = 0; q < k; q++) ref[i * n + j] += av[i * k + q]! * bv[q * n + j]!;
    const At = A.transpose(0, 1).contiguous().transpose(0, 1),
      Bt = B.transpose(0, 1).contiguous().transpose(0, 1);
    for (const [a, b] of [
      [A, B],
      [A, Bt],
      [At, B],
      [At, Bt],
    ] as const) {
      const got = await a.matmul(b).data();
      let worst = 0;
      for (let i = 0; i < ref.length; i++) worst = Math.max(worst, Math.abs(ref[i]! - got[i]!));
      expect(worst).toBeLessThan(1e-5);
    }
    const before = device.memory().inUse;
    scope(() => void ones(device, [100, 100]).exp().sum());
    expect(device.memory().inUse).toBe(before);
    const big = ones(device, [1024, 1024]);
    for (let r = 0; r < 3; r++) {
      await device.sync();
      const t = performance.now();
      const c = scope(() => big.matmul(big));
      await device.sync();
      console.log(tier, "1024^3", (performance.now() - t).toFixed(1), "ms");
      c.dispose();
    }
  }
});
