/** A training loop of thousands of steps ends with the memory it had after ten, on the device to the byte and on the host about. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import { SoakRun } from "./soak.ts";

/** `pnpm soak` sets SOAK_STEPS. */
const STEPS = Number(process.env["SOAK_STEPS"] ?? 2000);

/** Steps between read-backs, as a trainer logs. */
const LOG_EVERY = 50;

/** Growth of the process from a tenth of the run to its end that compiled code and the allocators' spare pages account for, however long the run. */
const HOST_BYTES = 48 * 2 ** 20;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/**
 * Bytes of the process without JavaScript's garbage: what live objects take on the heap, and all memory outside it. The resident size alone is no measure of a leak, as
 * V8 lets its heap grow by as much as its semi-spaces hold before it collects: two equal runs differed by 130 MiB.
 */
function hostBytes(): number {
  collect();
  const { rss, heapTotal, heapUsed } = process.memoryUsage();
  return rss - heapTotal + heapUsed;
}

test.each([
  { name: "op by op", replayed: false },
  { name: "replayed", replayed: true },
])(`${STEPS} steps $name`, { timeout: 60_000 + 60 * STEPS }, async ({ name, replayed }) => {
  const device = await testDevice();
  const before = device.memory();
  const run = new SoakRun(device, replayed);
  const losses: number[] = [];
  let afterTen = device.memory();
  let host = 0;
  for (let step = 1; step <= STEPS; step++) {
    const loss = run.step();
    if (step % LOG_EVERY === 0) losses.push(await loss.item());
    loss.dispose();
    if (step === 10) {
      await device.sync();
      afterTen = device.memory();
      device.resetPeak();
    }
    if (step === STEPS / 10) {
      await device.sync();
      host = hostBytes();
    }
  }
  await device.sync();
  const { inUse, storages, reserved, peak } = device.memory();
  const grown = hostBytes() - host;
  expect({ inUse, storages, reserved }).toEqual({
    inUse: afterTen.inUse,
    storages: afterTen.storages,
    reserved: afterTen.reserved,
  });
  expect(peak).toBeLessThanOrEqual(afterTen.peak);
  expect(grown, "bytes of the process").toBeLessThan(HOST_BYTES);
  expect(losses.every(Number.isFinite)).toBe(true);
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  expect(mean(losses.slice(-5)), "the loss falls").toBeLessThan(0.5 * losses[0]!);
  run.dispose();
  expect(device.memory().storages).toBe(before.storages);
  console.log(
    `${STEPS} steps ${name}: loss ${losses[0]} → ${losses.at(-1)}, device ${inUse} bytes in ${storages} storages (peak ${peak}, reserved ${reserved}), process ${(grown / 2 ** 20).toFixed(1)} MiB more`,
  );
});
