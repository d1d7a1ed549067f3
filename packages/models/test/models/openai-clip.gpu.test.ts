/** OpenAI's CLIP file (TorchScript, half precision, packed projections) gives the features that PyTorch computes from it (`reference/golden/openai_clip.py`). */
import { readFileSync } from "node:fs";
import { CheckpointError, type Device, scope } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import type { Checkpoint } from "../../src/formats/checkpoint.ts";
import { openCheckpoint } from "../../src/formats/open-checkpoint.ts";
import { isOpenAIClip, openAIClip, openAIClipConfig } from "../../src/formats/openai-clip.ts";
import { openSafetensors, type TensorEntry, writeSafetensors } from "../../src/formats/safetensors.ts";
import { CLIPModel } from "../../src/models/clip.ts";
import { Golden } from "./golden-file.ts";

const bytes = new Uint8Array(readFileSync(new URL("../golden/openai_clip.pt", import.meta.url)));
const open = (): Promise<Checkpoint> => openCheckpoint(bytesSource(bytes, "ViT-tiny.pt"));

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

/** The file's tensors as a plain state dict, with names and tensors changed. */
async function stateDict(change: (entry: TensorEntry) => TensorEntry[]): Promise<Checkpoint> {
  const entries: TensorEntry[] = [];
  for await (const entry of (await open()).entries()) entries.push(...change({ ...entry, bytes: entry.bytes.slice() }));
  return openSafetensors(bytesSource(writeSafetensors(entries, {}, "clip"), "clip.safetensors"));
}

async function expectFeatures(checkpoint: Checkpoint): Promise<void> {
  const golden = await Golden.open("openai_clip");
  const clip = openAIClip(checkpoint);
  const model = new CLIPModel(openAIClipConfig(clip), clip.name);
  await model.load(clip, { device });
  model.eval();
  const found = scope(() => [
    model.imageFeatures(golden.tensor(device, "input.pixels")),
    model.textFeatures(golden.tensor(device, "input.input_ids")),
  ]);
  for (const [i, key] of ["output.image_features", "output.text_features"].entries()) {
    const expected = golden.values(key);
    const values = (await found[i]!.data()) as Float32Array;
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const difference = values.reduce((most, x, at) => Math.max(most, Math.abs(x - expected[at]!)), 0);
    expect(values.length).toBe(expected.length);
    expect(difference / largest, key).toBeLessThan(1e-4);
    found[i]!.dispose();
  }
  model.dispose();
  await clip.close();
}

describe("OpenAI's CLIP", () => {
  it("from the TorchScript archive", async () => {
    const checkpoint = await open();
    expect(checkpoint.format).toBe("torch-script");
    expect(isOpenAIClip(checkpoint)).toBe(true);
    expect(checkpoint.tensors.get("visual.proj")).toMatchObject({ dtype: "F16", shape: [128, 24] });
    expect(openAIClipConfig(openAIClip(checkpoint))).toEqual({
      projection_dim: 24,
      text_config: {
        hidden_size: 64,
        intermediate_size: 256,
        num_hidden_layers: 2,
        num_attention_heads: 1,
        vocab_size: 60,
        max_position_embeddings: 10,
        eos_token_id: 2,
      },
      vision_config: {
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        image_size: 12,
        patch_size: 4,
      },
    });
    await expectFeatures(checkpoint);
  });

  it("from a state dict, as it is and as ImageReward's scorer keeps it", async () => {
    await expectFeatures(await stateDict((entry) => [entry]));
    await expectFeatures(await stateDict((entry) => [{ ...entry, name: `clip_model.${entry.name}` }]));
  });

  it("refuses what it is not", async () => {
    const foreign = await stateDict((entry) => [
      entry,
      ...(entry.name === "logit_scale" ? [{ ...entry, name: "extra" }] : []),
    ]);
    expect(() => openAIClip(foreign)).toThrow(/1 tensors are none of CLIP: extra/);
    const resnet = await stateDict((entry) =>
      entry.name === "logit_scale" ? [{ ...entry, name: "visual.layer1.0.conv1.weight" }] : [],
    );
    expect(() => openAIClip(resnet)).toThrow(/picture side is a ResNet/);
    const none = await stateDict((entry) => (entry.name === "logit_scale" ? [entry] : []));
    expect(isOpenAIClip(none)).toBe(false);
    expect(() => openAIClip(none)).toThrow(CheckpointError);
    const half = await stateDict((entry) => (entry.name === "token_embedding.weight" ? [] : [entry]));
    expect(() => openAIClipConfig(openAIClip(half))).toThrow(/no text_model\.embeddings\.token_embedding\.weight/);
  });
});
