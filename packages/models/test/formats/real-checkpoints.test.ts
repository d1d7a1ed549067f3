/** Checkpoints that others released (of the shared data): aesthetic heads and an fp16 autoencoder, compared with what PyTorch reads. */
import { bytesSource, type Checkpoint, entryToFloat32, openCheckpoint } from "@refl/models";
import { expect, it } from "vitest";
import { sharedData } from "../shared-data.ts";

/** Number of tensors and elements, Σx and Σ|x| in float64, as torch.load gives them. */
const FILES = {
  "aesthetic/sac+logos+ava1-l14-linearMSE.pth": [10, 927969, 18.16642803247578, 68511.09951001559],
  "aesthetic/ava+logos-l14-reluMSE.pth": [10, 927969, 739.4472603762729, 39162.1000667122],
  "aesthetic/sa_0_4_vit_l_14_linear.pth": [2, 769, -52.346367513309815, 623.7115474422317],
  "taesd/taef2_encoder.pth": [79, 1338528, 251.84707695245743, 44558.18437963724],
  "taesd/taef2_decoder.pth": [79, 1338499, -627.3743234872818, 46165.15767836571],
} as const;

async function measure(checkpoint: Checkpoint) {
  let [elements, sum, size] = [0, 0, 0];
  for await (const entry of checkpoint.entries()) {
    for (const x of entryToFloat32(entry)) {
      elements++;
      sum += x;
      size += Math.abs(x);
    }
  }
  return { elements, sum, size };
}

for (const [path, [tensors, elements, sum, size]] of Object.entries(FILES)) {
  it(`reads ${path}`, async (context) => {
    const checkpoint = await openCheckpoint(bytesSource(sharedData(context, path), path), { finite: true });
    expect([checkpoint.format, checkpoint.tensors.size]).toEqual(["torch-zip", tensors]);
    const found = await measure(checkpoint);
    expect(found.elements).toBe(elements);
    expect(found.sum).toBeCloseTo(sum, 6);
    expect(found.size).toBeCloseTo(size, 6);
  });
}
