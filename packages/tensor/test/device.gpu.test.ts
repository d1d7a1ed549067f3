/** The device: memory and its bounds, the order of its commands, several devices, and what happens when WebGPU fails. */
import { expect, test, vi } from "vitest";
import {
  capture,
  createDevice,
  type Device,
  DeviceLostError,
  LimitError,
  NoAdapterError,
  OutOfMemoryError,
  ones,
  ReflError,
  scope,
  Tensor,
  tensor,
  webHost,
  zeros,
} from "../src/index.ts";
import { nodeHost } from "../src/node.ts";
import { testDevice } from "./device.ts";

const fresh = (options: { memoryBudget?: number } = {}): Promise<Device> =>
  createDevice({ host: nodeHost(), tier: "portable", ...options });

test("memory counts live tensors, remembers the peak and reuses what was given back", async () => {
  using device = await fresh();
  expect(device.memory()).toEqual({ inUse: 0, peak: 0, reserved: 0, storages: 0, budget: Number.POSITIVE_INFINITY });
  const x = Tensor.empty(device, [1024]);
  const y = Tensor.empty(device, [1000]);
  expect(device.memory()).toMatchObject({ inUse: 8192, peak: 8192, reserved: 8192, storages: 2 });
  y.dispose();
  const z = Tensor.empty(device, [900]);
  expect(device.memory()).toMatchObject({ inUse: 8192, peak: 8192, reserved: 8192, storages: 2 });
  x.dispose();
  z.dispose();
  expect(device.memory()).toMatchObject({ inUse: 0, peak: 8192, reserved: 8192, storages: 0 });
  device.resetPeak();
  device.trim();
  expect(device.memory()).toMatchObject({ inUse: 0, peak: 0, reserved: 0 });
});

test("a budget destroys free buffers first, then fails and names the holders", async () => {
  using device = await fresh({ memoryBudget: 3 * 2 ** 20 });
  Tensor.empty(device, [2 ** 19]).dispose();
  const held = Tensor.empty(device, [2 ** 18], "f32", "activations");
  const more = Tensor.empty(device, [2 ** 18], "f32", "activations");
  expect(device.memory().reserved).toBe(2 * 2 ** 20);
  let error: unknown;
  try {
    Tensor.empty(device, [2 ** 19], "f32", "gradient");
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(OutOfMemoryError);
  expect(error).toMatchObject({ code: "out-of-memory", inUse: 2 ** 21, budget: 3 * 2 ** 20 });
  expect((error as Error).message).toContain("activations × 2 = 2.0 MiB");
  held.dispose();
  more.dispose();
  expect(
    await Tensor.empty(device, [2 ** 18])
      .fill_(2)
      .sum()
      .item(),
  ).toBe(2 ** 19);
});

test("a tensor larger than a binding is refused with both sizes", async () => {
  const device = await testDevice("portable");
  const limit = device.gpu.limits.maxStorageBufferBindingSize;
  let error: unknown;
  try {
    Tensor.empty(device, [limit / 4 + 4], "f32", "table");
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(LimitError);
  expect(error).toMatchObject({ limit, needed: limit + 16 });
  expect((error as Error).message).toContain("table");
  // A plan's own memory never comes to the pool, but has the same bound.
  expect(() => capture(device, {}, () => ({ made: Tensor.empty(device, [limit / 4 + 4]) }))).toThrow(LimitError);
});

test("a write into a buffer whose old content is still being read comes after the reading", async () => {
  const device = await testDevice("full");
  const n = 4096;
  const sums: Tensor[] = [];
  for (let round = 0; round < 200; round++) {
    // The handle is given back while its sum is only encoded; the next round's upload gets the same buffer.
    const x = tensor(device, new Float32Array(n).fill(round));
    sums.push(x.mul(2).sum());
    x.dispose();
  }
  for (const [round, sum] of sums.entries()) expect(await sum.item()).toBe(2 * n * round);
  for (const sum of sums) sum.dispose();
});

test("writes between dispatches and copies keep their order", async () => {
  const device = await testDevice("full");
  const x = zeros(device, [64]);
  const seen: Tensor[] = [];
  for (let round = 1; round <= 100; round++) {
    if (round % 3 === 0) x.write_(new Float32Array(64).fill(round));
    else x.add_(ones(device, [64]));
    seen.push(x.clone());
  }
  let value = 0;
  for (const [i, t] of seen.entries()) {
    value = (i + 1) % 3 === 0 ? i + 1 : value + 1;
    expect(
      (await t.data()).every((v) => v === value),
      `round ${i + 1}`,
    ).toBe(true);
  }
});

test("who writes much waits for the device now and then, who writes little never", async () => {
  using device = await fresh();
  const x = Tensor.empty(device, [2 ** 22]);
  const values = new Float32Array(2 ** 22).fill(3);
  let waits = 0;
  const { queue } = device.gpu;
  const done = queue.onSubmittedWorkDone.bind(queue);
  vi.spyOn(queue, "onSubmittedWorkDone").mockImplementation(() => {
    waits++;
    return done();
  });
  // 4 times 16 MiB may lie in the queue, the fifth is too much.
  for (const expected of [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]) {
    x.write_(values);
    await device.settleWrites();
    expect(waits).toBe(expected);
  }
  expect((await x.data())[2 ** 22 - 1]).toBe(3);
});

test("parameters of many dispatches stay apart across submits", async () => {
  using device = await fresh();
  const before = device.counters;
  const parts = scope(() => Array.from({ length: 150 }, (_, i) => ones(device, [5]).mul(i)));
  expect(device.counters.dispatches - before.dispatches).toBe(300);
  const submits = device.counters.submits - before.submits;
  expect(submits).toBeGreaterThanOrEqual(4);
  expect(submits).toBeLessThan(300);
  for (const [i, part] of parts.entries()) expect((await part.data())[4]).toBe(i);
});

test("two devices side by side do not disturb each other", async () => {
  using one = await fresh();
  using two = await fresh();
  const [x, y] = [tensor(one, [1, 2, 3]), tensor(two, [10, 20, 30])];
  const [a, b] = [x.mul(2), y.mul(3)];
  expect(await Promise.all([a.data(), b.data()])).toEqual([Float32Array.of(2, 4, 6), Float32Array.of(30, 60, 90)]);
  one.dispose();
  expect([...(await y.add(1).data())]).toEqual([11, 21, 31]);
});

test("a device that the caller gave is left alone by dispose", async () => {
  const adapter = (await nodeHost().gpu.requestAdapter())!;
  const gpu = await adapter.requestDevice();
  let lost = false;
  void gpu.lost.then(() => (lost = true));
  const device = await createDevice({ gpu: { device: gpu, info: adapter.info } });
  expect(device.hostName).toBe("given");
  expect([...(await tensor(device, [1, 2]).add(1).data())]).toEqual([2, 3]);
  device.dispose();
  const again = await createDevice({ gpu: { device: gpu, info: adapter.info } });
  expect(await ones(again, [9]).sum().item()).toBe(9);
  expect(lost).toBe(false);
  gpu.destroy();
});

test("the adapter is named, and a software one known as such", async () => {
  const { adapter, capabilities } = await testDevice("portable");
  expect(`${adapter.vendor}${adapter.description}${adapter.device}`.length).toBeGreaterThan(0);
  if (/llvmpipe|swiftshader/i.test(`${adapter.device} ${adapter.description}`)) expect(adapter.software).toBe(true);
  expect(capabilities).toMatchObject({ subgroupSize: 0, f16: false });
});

test("without WebGPU the web host says what to use", () => {
  expect(() => webHost()).toThrow(NoAdapterError);
  expect(() => webHost()).toThrow(expect.objectContaining({ exitCode: 3 }));
});

test("a host without an adapter gives an error with what to install", async () => {
  const gpu = { requestAdapter: async () => null } as unknown as GPU;
  await expect(createDevice({ host: { name: "node", gpu } })).rejects.toThrow(NoAdapterError);
});

test("a validation error of WebGPU fails the next read, typed, and every use after it", async () => {
  using device = await fresh();
  const x = ones(device, [4]);
  expect([...(await x.data())]).toEqual([1, 1, 1, 1]);
  // Out of the storage's bounds.
  device.copy(x.storage, 0, x.storage, 1 << 20, 16);
  const refused = expect.objectContaining({
    code: "webgpu",
    message: expect.stringContaining("WebGPU refused a command"),
  });
  await expect(x.data()).rejects.toThrow(refused);
  await expect(device.sync()).rejects.toThrow(refused);
  expect(() => x.add(1)).toThrow(ReflError);
});

test("a lost device rejects reads in flight and later ones, and makes no tensors", async () => {
  const device = await fresh();
  const x = ones(device, [4]);
  await x.data();
  const reading = x.mul(2).data();
  device.gpu.destroy();
  await expect(reading).rejects.toThrow(DeviceLostError);
  await expect(x.data()).rejects.toThrow(DeviceLostError);
  await expect(device.sync()).rejects.toThrow(DeviceLostError);
  expect(() => x.add(1)).toThrow(DeviceLostError);
});
