/** The shared pictures through the tensor resize, with and without anti-aliasing, against torchvision (`reference/`). */
import { readFileSync } from "node:fs";
import { noGrad } from "@refl/autograd";
import { type Device, resize, scope, tensor } from "@refl/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { sharedData } from "../../../models/test/shared-data.ts";
import { testDevice } from "../../../tensor/test/device.ts";
import { decodePixels } from "../../src/data/image.node.ts";
import { bytesToPlanes } from "../../src/data/pixels.ts";

type Statistics = [mean: number, min: number, max: number];
const golden: { images: Record<string, { plain: Statistics; antialias: Statistics }> } = JSON.parse(
  readFileSync(new URL("../../../models/test/golden/preprocess.json", import.meta.url), "utf8"),
);

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

describe("bicubic resize of tensors", () => {
  for (const [name, expected] of Object.entries(golden.images)) {
    for (const kind of ["plain", "antialias"] as const)
      test(`${name}, ${kind}`, async (context) => {
        const bytes = sharedData(context, `imagereward/images/${name}`);
        const { width, height, data } = await decodePixels(bytes, name);
        const planes = new Float32Array(data.length);
        bytesToPlanes(data, planes);
        const out = noGrad(() =>
          scope(() =>
            resize(tensor(device, planes, [1, 3, height, width]), [224, 224], {
              mode: "bicubic",
              antialias: kind === "antialias",
            }),
          ),
        );
        const values = (await out.data()) as Float32Array;
        out.dispose();
        const found = [
          values.reduce((sum, x) => sum + x, 0) / values.length,
          values.reduce((least, x) => Math.min(least, x), 1),
          values.reduce((most, x) => Math.max(most, x), 0),
        ];
        for (const [i, value] of found.entries()) expect(Math.abs(value - expected[kind][i]!)).toBeLessThan(2e-6);
      });
  }
});
