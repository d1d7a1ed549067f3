import { test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { newPipeline } from "../../src/models.ts";
import { emoji32 } from "../../src/data/emoji32.ts";
import { taskExamples } from "../../src/train/examples.ts";
import { trainBase } from "../../src/train/base.ts";
test("base", async () => {
  const device = await testDevice();
  const pipeline = newPipeline(emoji32, device, 1);
  console.log(pipeline.unet.parameterCount(), pipeline.textEncoder.parameterCount());
  const run = trainBase({ pipeline, steps: 400, batchSize: 16, lr: 1e-3, seed: 1, objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } }, examples: taskExamples(emoji32), lrSchedule: "cosine", warmupSteps: 100, weightDecay: 0.01, gradientClip: 1, emaDecay: 0.995 });
  let t = performance.now();
  for (let i = 0; i < 8; i++) { const e = (await run.next()).value as any; console.log(e.step, (performance.now() - t).toFixed(0), JSON.stringify(e.metrics), device.counters, device.memory()); t = performance.now(); }
  const rows = await device.profile(async () => { for (let i = 0; i < 2; i++) await run.next(); });
  console.log("total", rows.reduce((a, r) => a + r.milliseconds, 0), rows.map((r) => `${r.name} ${r.count} ${r.milliseconds.toFixed(1)}`).join("\n"));
});
