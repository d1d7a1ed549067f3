/** Adapters of a model to a file and back onto another copy of it, with ranks and alphas of their own. */
import {
  addLora,
  bytesSource,
  float32Entry,
  loadLora,
  loraPaths,
  openCheckpoint,
  readLora,
  UNet2DConditionModel,
  writeLora,
} from "@refl/models";
import { CheckpointError, tensor } from "@refl/tensor";
import { expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";

const CONFIG = {
  sample_size: 8,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [4, 8],
  layers_per_block: 1,
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  cross_attention_dim: 4,
  norm_num_groups: 2,
  attention_head_dim: 2,
};

it("gives the same output on another copy of the model", async () => {
  const device = await testDevice("full");
  const model = () => new UNet2DConditionModel(CONFIG).initialize(device, 3).eval();
  using trained = model();
  using adapters = addLora(trained, { rank: 2, alpha: 3 }).initialize(device, 4);
  for (const [name, parameter] of adapters.stateDict()) {
    const values = Float32Array.from({ length: parameter.numel }, (_, i) => (((i + name.length) * 7) % 23) / 46 - 0.25);
    parameter.write_(values);
  }
  using other = model();
  const file = writeLora(await adapters.weights(), "kohya");
  const weights = await readLora(await openCheckpoint(bytesSource(file, "lora.safetensors")), loraPaths(other));
  const draw = (shape: number[]) =>
    tensor(
      device,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
      shape,
    );
  using sample = draw([1, 4, 8, 8]);
  using text = draw([1, 3, 4]);
  using time = tensor(device, Float32Array.of(7), [1]);
  const run = async (unet: UNet2DConditionModel) => {
    using out = unet.forward(sample, time, text);
    return out.data();
  };
  const before = await run(other);
  using loaded = loadLora(other, weights, device);
  const [wanted, found] = [await run(trained), await run(other)];
  expect(found).toEqual(wanted);
  expect(found).not.toEqual(before);
  loaded.detach();
  expect(await run(other)).toEqual(before);
  const layer = { ...[...weights.values()][0]!, down: float32Entry("", [2, 9], new Float32Array(18)) };
  expect(() => loadLora(other, new Map([[[...weights.keys()][0]!, layer]]), device)).toThrow(CheckpointError);
  expect(() => loadLora(other, new Map([["conv_in", layer]]), device)).toThrow(/no linear layer conv_in/);
});
