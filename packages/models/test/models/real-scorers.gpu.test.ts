/** Real files through the models: the released aesthetic predictors on real CLIP embeddings. */
import { readFileSync } from "node:fs";
import { noGrad } from "@refl/autograd";
import { CheckpointError, DataError, type Device, ShapeError, scope, tensor } from "@refl/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { openCheckpoint } from "../../src/formats/open-checkpoint.ts";
import { AestheticPredictor } from "../../src/models/aesthetic.ts";
import { sharedData } from "../shared-data.ts";
import { Golden } from "./golden.ts";

const golden: { scores: Record<string, number[]> } = JSON.parse(
  readFileSync(new URL("../golden/aesthetic.json", import.meta.url), "utf8"),
);

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

/** The f32 values of a NumPy file of version 1. */
function npy(bytes: Uint8Array): Float32Array {
  const header = new DataView(bytes.buffer, bytes.byteOffset).getUint16(8, true);
  expect(new TextDecoder().decode(bytes.subarray(10, 10 + header))).toMatch(/'descr': '<f4'/);
  return new Float32Array(bytes.slice(10 + header).buffer);
}

describe("aesthetic predictors", () => {
  for (const [file, expected] of Object.entries(golden.scores)) {
    test(`${file} gives its scores to 1e-5`, async (context) => {
      const checkpoint = await openCheckpoint(bytesSource(sharedData(context, `aesthetic/${file}`), file));
      const rows = expected.map((_, i) =>
        npy(sharedData(context, `aesthetic/embeddings/rating${i}.npy`)).slice(0, 768),
      );
      const model = await AestheticPredictor.fromCheckpoint(checkpoint, device);
      await checkpoint.close();
      const flat = Float32Array.from(rows.flatMap((row) => [...row]));
      const scores = noGrad(() => scope(() => model.forward(tensor(device, flat, [rows.length, 768]))));
      const found = await scores.data();
      for (const [i, score] of expected.entries()) expect(Math.abs(found[i]! - score), `rating${i}`).toBeLessThan(1e-5);
      scores.dispose();
      model.dispose();
    });
  }

  test("have the released keys, and refuse what is none of them", async () => {
    const linear = new AestheticPredictor();
    const keys = [...linear.shapes().keys()].filter((key) => key.endsWith("weight"));
    expect(keys).toEqual([0, 2, 4, 6, 7].map((i) => `layers.${i}.weight`));
    const relu = new AestheticPredictor({ activation: "relu" });
    expect([...relu.shapes().keys()].filter((key) => key.endsWith("bias"))).toEqual(
      [0, 3, 6, 9, 11].map((i) => `layers.${i}.bias`),
    );
    expect(new AestheticPredictor(relu.toConfig()).config).toEqual(relu.config);
    expect(() => new AestheticPredictor({ widths: [4, 2] })).toThrow(DataError);
    const other = await openCheckpoint(
      bytesSource(new Uint8Array(readFileSync(new URL("../golden/guidance.safetensors", import.meta.url))), "other"),
    );
    await expect(AestheticPredictor.fromCheckpoint(other, device)).rejects.toThrow(CheckpointError);
    await other.close();
    const golden = await Golden.open("guidance");
    linear.initialize(device, 1);
    scope(() => expect(() => linear.forward(golden.tensor(device, "input.cond"))).toThrow(ShapeError));
    linear.dispose();
  });
});
