import { test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { newClassifier } from "../../src/models.ts";
import { emoji32 } from "../../src/data/emoji32.ts";
import { trainClassifier } from "../../src/evaluate/second-judge.ts";
test("classifier", async () => {
  const device = await testDevice();
  const model = newClassifier(emoji32, device, 1);
  const run = trainClassifier({ device, model, task: emoji32, steps: 40, batchSize: 64, lr: 2e-3, seed: 1 });
  for (let i = 0; i < 3; i++) await run.next();
  const rows = await device.profile(async () => { for (let i = 0; i < 3; i++) await run.next(); });
  console.log(rows.map((r) => `${r.name} ${r.count} ${r.milliseconds.toFixed(1)}`).join("\n"));
});
