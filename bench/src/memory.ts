/** Memory of whole steps: the peak against what any way of computing them must hold. */
import { grad, requireGrad } from "@refl/autograd";
import { type Device, keep, scope, tensor } from "@refl/tensor";
import { forward, type Pure } from "./engines/ours.ts";
import type { Fact } from "./report/result.ts";
import { drawInputs, type Work } from "./work.ts";

/**
 * Runs forward and backward of `work` and compares the device's peak with its lower bound: inputs, what the tape saves and all gradients.
 * The figure is their ratio; 1 is a step without any temporary.
 */
export async function memoryFact(device: Device, name: string, work: Pure): Promise<Fact> {
  const placed = Object.fromEntries(
    Object.entries(drawInputs(work)).map(([input, { data, shape }]) => [input, keep(tensor(device, data, [...shape]))]),
  );
  const leaves = Object.keys(placed).filter((input) => input !== "dy");
  for (const leaf of leaves) requireGrad(placed[leaf]!);
  const bytes = leaves.reduce((sum, leaf) => sum + 4 * placed[leaf]!.numel, 0);
  const others = device.memory().inUse - bytes - 4 * placed["dy"]!.numel;
  let saved = 0;
  device.resetPeak();
  scope(() => {
    const y = forward(work, placed);
    saved = device.memory().inUse;
    grad(
      y,
      leaves.map((leaf) => placed[leaf]!),
      { gradient: placed["dy"]! },
    );
  });
  await device.sync();
  const peak = device.memory().peak - others;
  const bound = saved - others + bytes;
  for (const t of Object.values(placed)) t.dispose();
  const mib = (n: number): string => (n / 2 ** 20).toFixed(1);
  return {
    name: `memory of ${name}: peak / lower bound`,
    value: peak / bound,
    unit: "",
    note: `${mib(peak)} of ${mib(bound)} MiB: inputs, saved activations, gradients`,
  };
}

/** The works whose memory is reported. */
export const MEMORY_WORKS: readonly (readonly [string, Pure & Work])[] = [
  ["UNet block", { op: "unetBlock", part: "both", n: 4, c: 128, h: 16, groups: 32 }],
  ["ViT block", { op: "vitBlock", part: "both", tokens: 197, width: 384, heads: 6 }],
];
