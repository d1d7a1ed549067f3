/** The shipped shapes16 models on a web host (a browser, Deno): fetched over HTTP, four pictures drawn and scored, and one ReFL step. */
import { TextToImagePipeline, urlFolder } from "@refl/models";
import {
  modelPreset,
  plainSource,
  resolveConfig,
  rewardFromBlip,
  shapes16,
  taskModels,
  taskSubject,
  tasteNamed,
  trainReflConfig,
  tuneArm,
} from "@refl/refl";
import { type AdapterIdentity, createDevice, type Device } from "@refl/tensor";
import { weightsDigest } from "../src/jobs/digest.ts";

/** What one host found. `values` are the pictures' rewards and the step's losses, which other hosts must find too. */
export interface PipelineReport {
  readonly host: string;
  readonly tier: "full";
  readonly adapter: AdapterIdentity;
  readonly passed: number;
  readonly failed: number;
  readonly failures: readonly string[];
  readonly seconds: number;
  readonly values: readonly number[];
}

const PROMPTS = [
  "a big red circle on a white background",
  "a small blue square on a yellow background",
  "a big green triangle on a black background",
  "a small yellow ring on a grey background",
];

type Check = (name: string, right: boolean, found: unknown) => void;

async function tryModels(device: Device, url: string, check: Check): Promise<number[]> {
  const models = taskModels(urlFolder(url));
  using pipeline = await TextToImagePipeline.fromFolder(models.base, device);
  const drawn = await pipeline.generate({ prompts: PROMPTS, seeds: 1, steps: 4 });
  const rgb = (await drawn.data()) as Float32Array;
  drawn.dispose();
  check("pictures lie in 0..1", rgb.every((x) => x >= 0 && x <= 1) && rgb.length === 4 * 3 * 16 * 16, rgb.length);
  const preset = modelPreset(shapes16, pipeline.tokenizer.vocabSize);
  const scorer = await rewardFromBlip(models.blip, device, preset.rewardHead, 1);
  try {
    const rewards = await scorer.score(PROMPTS, rgb, 16);
    const others = await scorer.score([...PROMPTS.slice(1), PROMPTS[0]!], rgb, 16);
    const mean = (list: Float32Array): number => list.reduce((sum, x) => sum + x, 0) / list.length;
    check("pictures fit their own prompts best", mean(rewards) > mean(others), { rewards, others });
    const before = await weightsDigest(pipeline.unet);
    const values = { task: "shapes16", reward: "given", steps: 1, batchSize: 2, pretrainingBatchSize: 2, lr: 1e-4 };
    const short = { samplerSteps: 3, window: 2, earlyStop: null, control: false };
    const config = resolveConfig(trainReflConfig, [plainSource({ ...values, ...short }, "smoke")]);
    const subject = taskSubject(shapes16, tasteNamed("judge", shapes16), config.seed);
    const run = tuneArm({ arm: "refl", subject, config, pipeline, scorer });
    let metrics: Readonly<Record<string, number>> = {};
    for await (const event of run) if (event.type === "step") metrics = event.metrics;
    const { reward = Number.NaN, pretrainingLoss = Number.NaN, gradNorm = Number.NaN } = metrics;
    check("a ReFL step has finite losses and a gradient", gradNorm > 0 && Number.isFinite(reward + gradNorm), metrics);
    check("the step changes the UNet", (await weightsDigest(pipeline.unet)) !== before, before);
    return [...rewards, reward, pretrainingLoss];
  } finally {
    scorer.model.dispose();
  }
}

/** Runs the check on this host with the models below `url`. */
export async function pipelineSmoke(url: string): Promise<PipelineReport> {
  const start = performance.now();
  const failures: string[] = [];
  let passed = 0;
  const check: Check = (name, right, found) => {
    if (right) passed++;
    else failures.push(`${name}: ${JSON.stringify(found)}`);
  };
  const device = await createDevice();
  const { adapter, hostName: host } = device;
  let values: number[] = [];
  try {
    values = await tryModels(device, url, check);
  } catch (cause) {
    failures.push(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause));
  }
  device.dispose();
  const seconds = (performance.now() - start) / 1000;
  return { host, tier: "full", adapter, passed, failed: failures.length, failures, seconds, values };
}
