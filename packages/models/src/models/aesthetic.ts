/** Aesthetic predictors over CLIP ViT-L/14 picture embeddings: LAION's line and the perceptrons of the improved predictor. */
import { CheckpointError, DataError, type Device, ShapeError, type Tensor } from "@refl/tensor";
import * as v from "valibot";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { parseConfig } from "../formats/config.ts";
import type { JsonObject } from "../formats/json.ts";
import { Dropout } from "../nn/dropout.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { unitRows } from "../nn/norm.ts";
import { count, jsonOf, probability } from "./fields.ts";

const schema = v.strictObject({
  /** Length of an embedding. */
  embedding_dim: v.optional(count, 768),
  /** Outputs of the layers. */
  widths: v.optional(v.pipe(v.array(count), v.minLength(1)), [1024, 128, 64, 16, 1]),
  /** Between the layers. The published perceptrons have `none`, but for the one that says `relu` in its name. */
  activation: v.optional(v.picklist(["none", "relu"]), "none"),
  /** After the first layers, in training. */
  dropout: v.optional(v.array(probability), [0.2, 0.2, 0.1]),
});

export type AestheticConfig = v.InferOutput<typeof schema>;

class Relu extends Module<[x: Tensor], Tensor> {
  protected override compute(x: Tensor): Tensor {
    return x.relu();
  }
}

/**
 * How beautiful a picture is, about 1 to 10; a prompt plays no part. embedding: [B, embedding_dim], any length → [B, 1]. Keys are those of the
 * released files: `layers.<i>` with an index for every dropout and activation between.
 */
export class AestheticPredictor extends Module<[embedding: Tensor], Tensor> {
  readonly config: AestheticConfig;
  readonly layers: readonly (Linear | Dropout | Relu)[];

  /**
   * @param config fields of `config.json`; by default the predictor with which ImageReward was compared
   * @throws DataError naming `file` and the field
   */
  constructor(config: unknown = {}, file = "config.json") {
    super();
    this.config = parseConfig(schema, config, file);
    const { embedding_dim: width, widths, activation, dropout } = this.config;
    if (widths.at(-1) !== 1) throw new DataError(file, 0, "widths", `the last is ${widths.at(-1)}, a score is 1`);
    this.layers = widths.flatMap((out, i) => {
      const linear = new Linear(i === 0 ? width : (widths[i - 1] as number), out);
      const last = i === widths.length - 1;
      return [
        linear,
        ...(activation === "relu" && !last ? [new Relu()] : []),
        ...(i < dropout.length && !last ? [new Dropout(dropout[i] as number)] : []),
      ];
    });
  }

  /**
   * The predictor that a released file holds: the perceptrons of `sac+logos+ava1-l14-linearMSE.pth`, with ReLU those of `…-reluMSE.pth`, or the
   * single line of LAION's `sa_0_4_vit_l_14_linear.pth`. In evaluation mode; the caller closes the checkpoint.
   * @throws CheckpointError when its tensors are those of no aesthetic predictor
   */
  static async fromCheckpoint(checkpoint: Checkpoint, device: Device): Promise<AestheticPredictor> {
    const shapes = checkpoint.shapes();
    const single = shapes.has("weight");
    const weights = [...shapes].filter(([name]) => /^(layers\.\d+\.)?weight$/.test(name));
    const indices = weights.map(([name]) => (single ? 0 : Number(name.split(".")[1])));
    const inOrder = weights
      .map(([, shape], k) => ({ shape, index: indices[k] as number }))
      .sort((a, b) => a.index - b.index);
    const first = inOrder[0]?.shape;
    if (!first || inOrder.some(({ shape }) => shape.length !== 2)) {
      throw new CheckpointError(checkpoint.name, "has no layers of an aesthetic predictor (layers.0.weight or weight)");
    }
    const last = inOrder.at(-1) as { index: number };
    // Three indices a layer but for the last two where there are activations, two where there are dropouts alone.
    const activation = last.index > 2 * (inOrder.length - 1) ? "relu" : "none";
    const model = new AestheticPredictor({
      embedding_dim: first[1],
      widths: inOrder.map(({ shape }) => shape[0]),
      activation,
    });
    const rename = (name: string): string => (single ? `layers.0.${name}` : name);
    await model.load(checkpoint, { device, rename });
    return model.eval();
  }

  /** `config.json` beside the weights. */
  toConfig(): JsonObject {
    return jsonOf({ _class_name: "AestheticPredictor", ...this.config });
  }

  protected override compute(embedding: Tensor): Tensor {
    const { embedding_dim: width } = this.config;
    if (embedding.rank !== 2 || embedding.shape[1] !== width) {
      throw new ShapeError("AestheticPredictor", [embedding.shape], `needs [B, ${width}]`);
    }
    return this.layers.reduce((x, layer) => layer.forward(x), unitRows(embedding));
  }
}
