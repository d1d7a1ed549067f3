/** The dry device: memory to the byte and products as on the device that it is made like, and ones wherever anything is read. */
import { expect, test } from "vitest";
import {
  capture,
  conv2d,
  createDevice,
  type Device,
  DryDevice,
  full,
  scaledDotProductAttention,
  scope,
  type Tensor,
  totalFlops,
  workTotals,
} from "../src/index.ts";
import { nodeHost } from "../src/node.ts";

const real = await createDevice({ host: nodeHost() });

/** A product, a convolution and attention. */
function work(x: Tensor): { y: Tensor } {
  const { device } = x;
  const image = conv2d(x.reshape(1, 8, 16, 16), full(device, [8, 8, 3, 3], 0.1), null, { padding: 1 });
  const heads = image.reshape(1, 2, 64, 16);
  const looked = scaledDotProductAttention(heads, heads, heads).reshape(128, 16);
  return { y: looked.matmul(full(device, [16, 4], 0.5)) };
}

async function run(device: Device): Promise<{ peak: number; inUse: number; values: readonly number[] }> {
  device.resetPeak();
  const eager = scope(() => work(full(device, [2048], 0.5)).y.alias());
  const values = [...(await eager.data())];
  eager.dispose();
  const plan = capture(device, { x: { shape: [2048] } }, ({ x }) => work(x));
  plan.replay({ x: new Float32Array(2048) });
  await device.sync();
  const { peak, inUse } = device.memory();
  plan.dispose();
  return { peak, inUse, values };
}

test("counts what the real device needs and does", async () => {
  const dry = new DryDevice(real);
  expect(dry.capabilities).toEqual({ ...real.capabilities, timestamps: false });
  expect(dry.adapter).toEqual(real.adapter);
  const [wet, paper] = [await run(real), await run(dry)];
  expect(paper.peak).toBe(wet.peak);
  expect(paper.inUse).toBe(wet.inUse);
  expect(new Set(paper.values)).toEqual(new Set([1]));
  const plan = capture(real, { x: { shape: [2048] } }, ({ x }) => work(x));
  const { flops } = plan.explain();
  plan.dispose();
  // Once op by op, once replayed.
  expect(totalFlops(dry.work)).toBe(2 * flops);
  for (const family of ["matmul", "conv", "attention"] as const)
    expect(workTotals(dry.work).flops[family]).toBeGreaterThan(0);
  expect(dry.atPeak.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(paper.peak);
  expect(dry.largest.bytes).toBeGreaterThanOrEqual(2048 * 4);
  dry.dispose();
  real.dispose();
});
