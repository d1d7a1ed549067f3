/** The ImageReward scorer: prompts and pictures to rewards, for reading and for gradients. */
import { noGrad } from "@refl/autograd";
import type { BlipRewardModel, Tokenizer } from "@refl/models";
import {
  type Device,
  type HostTensor,
  type HostTensors,
  ShapeError,
  scope,
  type Tensor,
  tensor,
  toDevice,
} from "@refl/tensor";

/** Token ids and attention masks (1 = a token), both i32 [B, T]. */
export type TokenTensors = { readonly ids: Tensor; readonly mask: Tensor };

/** Texts as padded tokens on the host. */
export function tokenData(tokenizer: Tokenizer, texts: readonly string[]): HostTensors<TokenTensors> {
  const encoded = texts.map((text) => tokenizer.encode(text));
  const length = encoded[0]?.ids.length ?? 0;
  const flat = (rows: ArrayLike<number>[]): Int32Array => Int32Array.from(rows.flatMap((row) => Array.from(row)));
  const rows = (values: Int32Array): HostTensor => ({ values, shape: [texts.length, length], dtype: "i32" });
  return { ids: rows(flat(encoded.map((e) => e.ids))), mask: rows(flat(encoded.map((e) => e.mask))) };
}

/** Texts as padded tokens. */
export function tokenize(device: Device, tokenizer: Tokenizer, texts: readonly string[]): TokenTensors {
  return toDevice(device, tokenData(tokenizer, texts));
}

/** Pictures scored at once when reading scores. */
const BATCH = 64;

/** A reward model with its tokenizer: `reward(prompt, image) = (MLP(h_CLS) − mean) / std` (arXiv 2304.05977). */
export class ImageReward {
  readonly model: BlipRewardModel;
  readonly tokenizer: Tokenizer;
  readonly device: Device;

  constructor(device: Device, model: BlipRewardModel, tokenizer: Tokenizer) {
    this.device = device;
    this.model = model;
    this.tokenizer = tokenizer;
  }

  /** Rewards [B] of pictures [B, 3, H, W] in 0..1 for one prompt each; differentiable with respect to the pictures. */
  scoreTensor(prompts: readonly string[], pictures: Tensor): Tensor {
    if (pictures.shape[0] !== prompts.length)
      throw new ShapeError("scoreTensor", [pictures.shape, [prompts.length]], "needs one prompt for each picture");
    return this.model.normalise(this.rawReward(prompts, pictures));
  }

  /** What the vision tower makes of pictures [B, 3, H, W] in 0..1. */
  imageTokens(pictures: Tensor): Tensor {
    return this.model.encodeImage(this.model.preprocess(pictures));
  }

  /** The head's own output [B], before normalisation: what training compares. */
  rawReward(prompts: readonly string[], pictures: Tensor): Tensor {
    return this.rawRewardOfTokens(tokenize(this.device, this.tokenizer, prompts), pictures);
  }

  /** As {@link rawReward} for prompts that are tokens already, as captured steps have them. */
  rawRewardOfTokens({ ids, mask }: TokenTensors, pictures: Tensor): Tensor {
    return this.model.rawReward(this.imageTokens(pictures), ids, mask).reshape(-1);
  }

  /** Rewards of pictures of one size, `rgb` [B, 3, size, size] in 0..1. */
  async score(prompts: readonly string[], rgb: Float32Array, size: number): Promise<Float32Array> {
    const all = new Float32Array(prompts.length);
    const each = 3 * size * size;
    for (let start = 0; start < prompts.length; start += BATCH) {
      const part = prompts.slice(start, start + BATCH);
      const rewards = noGrad(() =>
        scope(() =>
          this.scoreTensor(
            part,
            tensor(this.device, rgb.subarray(start * each, (start + part.length) * each), [part.length, 3, size, size]),
          ),
        ),
      );
      all.set((await rewards.data()) as Float32Array, start);
      rewards.dispose();
    }
    return all;
  }
}
