/** A small convolutional classifier: the judge that never sees generated pictures in training. */
import { ShapeError, type Tensor } from "@refl/tensor";
import * as v from "valibot";
import { parseConfig } from "../formats/config.ts";
import type { JsonObject } from "../formats/json.ts";
import { Conv2d } from "../nn/conv.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { GroupNorm } from "../nn/norm.ts";
import { count } from "./fields.ts";

const schema = v.strictObject({
  in_channels: v.optional(count, 3),
  /** Channels of each stage; every stage after the first halves height and width. */
  channels: v.optional(v.pipe(v.array(count), v.minLength(1)), [24, 48, 64]),
  norm_num_groups: v.optional(count, 8),
  num_classes: count,
});

export type ConvClassifierConfig = v.InferOutput<typeof schema>;

class Stage extends Module<[x: Tensor], Tensor> {
  readonly conv: Conv2d;
  readonly norm: GroupNorm;

  constructor(inChannels: number, outChannels: number, stride: number, groups: number) {
    super();
    this.conv = new Conv2d(inChannels, outChannels, 3, { stride, padding: 1 });
    this.norm = new GroupNorm(groups, outChannels, 1e-5);
  }

  protected override compute(x: Tensor): Tensor {
    return this.norm.forward(this.conv.forward(x), "silu");
  }
}

/** Pictures [B, in_channels, H, W] in [0, 1] → class scores [B, num_classes]. */
export class ConvClassifier extends Module<[image: Tensor], Tensor> {
  readonly config: ConvClassifierConfig;
  readonly stages: readonly Stage[];
  readonly head: Linear;

  /** @throws DataError naming `file` and the field */
  constructor(config: unknown, file = "config.json") {
    super();
    const parsed = parseConfig(schema, config, file);
    const { channels, norm_num_groups: groups } = parsed;
    this.config = parsed;
    this.stages = channels.map(
      (out, i) => new Stage(i === 0 ? parsed.in_channels : channels[i - 1]!, out, i === 0 ? 1 : 2, groups),
    );
    this.head = new Linear(channels.at(-1)!, parsed.num_classes);
  }

  /** `config.json` beside the weights. */
  toConfig(): JsonObject {
    return { _class_name: "ConvClassifier", ...this.config };
  }

  /** The last stage averaged over space, for distances between sets of pictures. [B, in_channels, H, W] → [B, channels of the last stage]. */
  features(image: Tensor): Tensor {
    return this.run(() => {
      if (image.rank !== 4 || image.shape[1] !== this.config.in_channels) {
        throw new ShapeError("ConvClassifier", [image.shape], `needs [B, ${this.config.in_channels}, H, W]`);
      }
      return this.stages.reduce((x, stage) => stage.forward(x), image.mul(2).sub(1)).mean([2, 3]);
    });
  }

  protected override compute(image: Tensor): Tensor {
    return this.head.forward(this.features(image));
  }
}
