/** Tensors on their way from the device into files: the bytes that they would have in memory, a few MiB of them at a time. */
import {
  ConvClassifier,
  float32Entry,
  type ModelFolder,
  memoryFolder,
  readTensors,
  saveModel,
  streamTensors,
  type TensorEntry,
  type WritableModelFolder,
  writeSafetensors,
} from "@refl/models";
import { type Device, Tensor, tensor } from "@refl/tensor";
import { beforeAll, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";

const MIB = 2 ** 20;

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

/** A folder that counts what it is given and keeps none of it. */
function countingFolder(seen: (piece: Uint8Array) => void): WritableModelFolder {
  const nothing: ModelFolder = memoryFolder();
  return {
    ...nothing,
    async write(_, data) {
      if (data instanceof Uint8Array) seen(data);
      else for await (const piece of data) seen(piece);
    },
    async writeJson() {},
  };
}

it("goes through 200 MB with 8 MiB in flight", async () => {
  const count = 250_000;
  const entries = Array.from({ length: 200 }, (_, i) => ({
    name: `t${i}`,
    shape: [count],
    parts: [Tensor.empty(device, [count]).fill_(i)],
  }));
  const { inUse } = device.memory();
  const values = new Map<number, number>();
  let bytes = 0;
  let largest = 0;
  let onDevice = 0;
  const folder = countingFolder((piece) => {
    bytes += piece.byteLength;
    largest = Math.max(largest, piece.byteLength);
    onDevice = Math.max(onDevice, device.memory().inUse - inUse);
    if (bytes === piece.byteLength) return; // the header
    const list = new Float32Array(piece.buffer, piece.byteOffset, piece.byteLength / 4);
    for (const value of list) values.set(value, (values.get(value) ?? 0) + 1);
  });
  await folder.write("state", streamTensors(entries));
  expect(bytes).toBeGreaterThan(200_000_000);
  expect(largest).toBeLessThanOrEqual(8 * MIB);
  expect(onDevice).toBeLessThanOrEqual(8 * MIB);
  expect([...values]).toEqual(expect.arrayContaining(entries.map((_, i) => [i, count])));
  expect(values.size).toBe(200);
  expect(device.memory().inUse).toBe(inUse);
  for (const { parts } of entries) for (const part of parts) part.dispose();
});

it.each(["F32", "F16", "BF16"] as const)("gives the file that all values in memory would, in %s", async (dtype) => {
  const shapes = [[], [0, 3], [5], [2, 3, 7], [2_500_001], [64]];
  const noise = (i: number): number => Math.sin(i * 12.9898) * 10 ** ((i % 9) - 4);
  const entries = shapes.map((shape, k) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, (_, i) => noise(i + 31 * k));
    return { name: `t${9 - k}`, shape, values, parts: [tensor(device, values, shape)] };
  });
  // A weight that is kept in two parts, one of them f16.
  const [top, below] = [Float32Array.of(1, 2.5, -3), Float32Array.of(0.5, 65504, 0)];
  entries.push({
    name: "divided",
    shape: [2, 3],
    values: Float32Array.of(...top, ...below),
    parts: [tensor(device, top, [1, 3]), tensor(device, below, [1, 3], device.capabilities.f16 ? "f16" : "f32")],
  });
  const files = new Map<string, Uint8Array>();
  const metadata = { note: "ünï" };
  await memoryFolder(files).write("f", streamTensors(entries, { dtype, metadata, file: "f" }));
  const whole = entries.map(({ name, shape, values }): TensorEntry => float32Entry(name, shape, values, dtype));
  expect(Buffer.compare(files.get("f")!, writeSafetensors(whole, metadata))).toBe(0);
  const read = await readTensors(entries.flatMap(({ parts }) => parts));
  expect(read.map(({ length }) => length)).toEqual([1, 0, 5, 42, 2_500_001, 64, 3, 3]);
  expect(Buffer.compare(new Uint8Array(read[4]!.buffer), new Uint8Array(entries[4]!.values.buffer))).toBe(0);
  for (const { parts } of entries) for (const part of parts) part.dispose();
});

it("leaves nothing of a model whose weights cannot be read", async () => {
  const model = new ConvClassifier({ channels: [8, 16], norm_num_groups: 4, num_classes: 3 });
  const files = new Map<string, Uint8Array>();
  await expect(saveModel(model, memoryFolder(files))).rejects.toMatchObject({ code: "no-weights" });
  expect(files.size).toBe(0);
});
