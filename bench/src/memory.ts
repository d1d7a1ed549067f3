/** Memory of whole steps: the peak against what any way of computing them must hold. */
import { grad, requireGrad } from "@refl/autograd";
import {
  type DenoisingInputs,
  denoisingData,
  denoisingLoss,
  exampleBatch,
  newPipeline,
  TrainingSession,
  taskExamples,
  taskNamed,
} from "@refl/refl";
import { capture, type Device, keep, scope, type Tensor, tensor, toDevice } from "@refl/tensor";
import { forward, type Pure } from "./engines/ours.ts";
import type { Fact } from "./report/result.ts";
import { drawInputs, type Work } from "./work.ts";

const mib = (n: number): string => (n / 2 ** 20).toFixed(1);

/**
 * Captures forward and backward of `work`, as trainers do, and compares the device's peak in a replay with its lower bound: inputs, what the tape saves and
 * all gradients. The figure is their ratio; 1 is a step without any temporary.
 */
export async function memoryFact(device: Device, name: string, work: Pure): Promise<Fact> {
  const others = device.memory().inUse;
  const placed = Object.fromEntries(
    Object.entries(drawInputs(work)).map(([input, { data, shape }]) => [input, keep(tensor(device, data, [...shape]))]),
  );
  const leaves = Object.keys(placed).filter((input) => input !== "dy");
  for (const leaf of leaves) requireGrad(placed[leaf]!);
  const gradients = leaves.reduce((sum, leaf) => sum + 4 * placed[leaf]!.numel, 0);
  // The inner scope lets go of all that neither the tape nor the result holds.
  const bound =
    gradients -
    others +
    scope(() =>
      heldBy(
        device,
        scope(() => forward(work, placed)),
      ),
    );
  const plan = capture(
    device,
    {},
    () => {
      const all = grad(
        forward(work, placed),
        leaves.map((leaf) => placed[leaf]!),
        { gradient: placed["dy"]! },
      );
      return Object.fromEntries(all.map((gradient, i) => [leaves[i]!, gradient]));
    },
    { label: name },
  );
  device.resetPeak();
  plan.replay({});
  await device.sync();
  const peak = device.memory().peak - others;
  plan.dispose();
  for (const t of Object.values(placed)) t.dispose();
  return {
    name: `memory of ${name}: peak / lower bound`,
    value: peak / bound,
    unit: "",
    note: `${mib(peak)} of ${mib(bound)} MiB: inputs, saved activations, gradients`,
  };
}

/** Bytes in use while a result and all that it was computed from are held. */
const heldBy = (device: Device, _result: Tensor): number => device.memory().inUse;

/** Pictures of a step of {@link unetStepFact}, as `train base` has by default. */
const PICTURES = 16;

/**
 * As {@link memoryFact}, of the step that trains emoji32's UNet and text encoder; the bound is weights, gradients, moments, moving average and what the tape saves.
 */
export async function unetStepFact(device: Device): Promise<Fact> {
  const others = device.memory().inUse;
  const task = taskNamed("emoji32");
  const pipeline = newPipeline(task, device, 1);
  const batch = { ...(await exampleBatch(taskExamples(task), 0, 0, PICTURES)), first: 0 };
  const data = denoisingData(pipeline, batch, 0, { timestepShift: 3, weighting: { kind: "inverse-variance" } });
  const { unet, textEncoder } = pipeline;
  const parameters = [unet, textEncoder].flatMap((model, i) =>
    [...model.namedParameters()].map(([name, tensor]) => [`${i}.${name}`, tensor] as const),
  );
  const options = { weightDecay: 0.01, gradientClip: 1, emaDecay: 0.999 };
  const session = new TrainingSession(device, parameters, options, { unet, textEncoder });
  const bound =
    scope(() => {
      const inputs = toDevice(device, data);
      return heldBy(
        device,
        scope(() => denoisingLoss(pipeline, inputs)),
      );
    }) - others;
  const step = session.prepare("UNet step", (inputs: DenoisingInputs) => {
    const loss = denoisingLoss(pipeline, inputs);
    session.backward(loss);
    return { loss };
  });
  device.resetPeak();
  await step.advance(1e-3, data, null);
  const peak = device.memory().peak - others;
  session.dispose();
  pipeline.dispose();
  return {
    name: "memory of the UNet step of emoji32: peak / lower bound",
    value: peak / bound,
    unit: "",
    note: `${mib(peak)} of ${mib(bound)} MiB: weights, gradients, moments, average, saved activations`,
  };
}

/** The works whose memory is reported. */
export const MEMORY_WORKS: readonly (readonly [string, Pure & Work])[] = [
  ["UNet block", { op: "unetBlock", part: "both", n: 4, c: 128, h: 16, groups: 32 }],
  ["ViT block", { op: "vitBlock", part: "both", tokens: 197, width: 384, heads: 6 }],
];
