/** How a reward model begins: as BLIP's matching logit, with the first layers frozen, on pictures with noise mixed in. */
import { BlipPretrainingModel, BlipRewardModel, loadModel } from "@refl/models";
import { type Device, type Tensor, tensor, toDevice } from "@refl/tensor";
import { beforeAll, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { emoji32 } from "../../src/data/emoji32.ts";
import { stackPlanes } from "../../src/data/pixels.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import { rewardFromBlip, taskTokenizer } from "../../src/models.ts";
import { modelPreset } from "../../src/presets.ts";
import { tokenize } from "../../src/scorers/image-reward.ts";
import { mixNoise, noiseData } from "../../src/train/noise.ts";
import { freezeFirstLayers } from "../../src/train/reward.ts";
import { tinyModels } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

it("is a multiple of BLIP's matching logit before the first comparison", async () => {
  const { blip: folder } = await tinyModels(device);
  const scorer = await rewardFromBlip(folder, device, { head: [32, 16, 8, 4, 1], head_dropout: [0, 0, 0] }, 3);
  using blip = await loadModel((config, file) => new BlipPretrainingModel(config, file), folder, device);
  const attributes = shapes16.combinations("train").slice(0, 6);
  const prompts = attributes.map((a) => shapes16.captionOf(a));
  const rgb = stackPlanes(attributes.toReversed().map((a) => shapes16.render(a)));
  const pictures = tensor(device, rgb, [6, 3, 16, 16]);
  const { ids, mask } = tokenize(device, taskTokenizer(shapes16), prompts);
  const logits = await blip.itmLogits(scorer.imageTokens(pictures), ids, mask).data();
  const rewards = await scorer.rawReward(prompts, pictures).data();
  const bias = rewards[0]! - 0.1 * (logits[1]! - logits[0]!);
  for (let i = 0; i < 6; i++) expect(rewards[i]).toBeCloseTo(0.1 * (logits[2 * i + 1]! - logits[2 * i]!) + bias, 4);
  expect(Math.max(...rewards) - Math.min(...rewards)).toBeGreaterThan(1e-3);
  scorer.model.dispose();
});

it("freezes the embeddings and the first layers of both encoders", () => {
  const { blip, rewardHead } = modelPreset(emoji32, taskTokenizer(emoji32).vocabSize);
  const model = new BlipRewardModel({ ...blip, ...rewardHead });
  const frozen = () => [...model.namedSlots()].filter(([, slot]) => slot.frozen).map(([name]) => name);
  freezeFirstLayers(model, 0);
  expect(frozen().every((name) => /_proj\./.test(name))).toBe(true);
  freezeFirstLayers(model, 0.7);
  const names = frozen();
  expect(names).toContain("blip.visual_encoder.pos_embed");
  expect(names).toContain("blip.visual_encoder.blocks.1.mlp.fc1.weight");
  expect(names).toContain("blip.text_encoder.embeddings.word_embeddings.weight");
  expect(names).toContain("blip.text_encoder.encoder.layer.0.attention.self.query.weight");
  expect(names.some((name) => /blocks\.2\.|visual_encoder\.norm\.|layer\.1\.|^mlp\./.test(name))).toBe(false);
});

const mixed = (pictures: Tensor, most: number, first: number): Tensor =>
  mixNoise(pictures, toDevice(device, noiseData(most, 1, "test noise", first, pictures.shape[0]!)));

it("mixes noise by the picture's number, in 0..1, and none with a share of 0", async () => {
  const clean = tensor(device, new Float32Array(4 * 3 * 16).fill(0.25), [4, 3, 4, 4]);
  const all = await mixed(clean, 0.5, 0).data();
  const last = await mixed(clean.slice(0, 2, 4), 0.5, 2).data();
  expect(all.slice(96)).toEqual(last);
  expect(Math.min(...all)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...all)).toBeLessThanOrEqual(1);
  expect(new Set(all).size).toBeGreaterThan(100);
  expect(await mixed(clean, 0, 0).data()).toEqual(await clean.data());
});
