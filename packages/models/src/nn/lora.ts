/** Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on linear layers, under PEFT's names. */
import { noGrad } from "@refl/autograd";
import { CheckpointError, DataError, type Device, numel, scope, type Tensor, tensor } from "@refl/tensor";
import { entryToFloat32 } from "../formats/entries.ts";
import type { LoraLayerWeights, LoraWeights } from "../formats/lora.ts";
import { Conv2d } from "./conv.ts";
import { zerosInit } from "./init.ts";
import { Linear } from "./linear.ts";
import { Module } from "./module.ts";

export interface LoraOptions {
  readonly rank: number;
  /** The adapter's output is scaled by alpha / rank. Default: rank, a scale of 1. */
  readonly alpha?: number;
  /** Paths of the linear layers to adapt. Default: the attention projections of a UNet. */
  readonly targets?: RegExp;
}

/** Query, key, value and output projections as diffusers names them. */
export const ATTENTION_PROJECTIONS: RegExp = /\.(to_q|to_k|to_v|to_out\.0)$/;

/** scale · B(A(x)); B begins as zero, so that a fresh adapter changes nothing. [..., in] → [..., out]. */
export class LoraLayer extends Module<[x: Tensor], Tensor> {
  readonly lora_A: Linear;
  readonly lora_B: Linear;
  readonly alpha: number;

  constructor(inFeatures: number, outFeatures: number, rank: number, alpha: number) {
    super();
    this.lora_A = new Linear(inFeatures, rank, { bias: false });
    this.lora_B = new Linear(rank, outFeatures, { bias: false, weightInit: zerosInit });
    this.alpha = alpha;
  }

  /** alpha / rank. */
  get scale(): number {
    return this.alpha / this.lora_A.outFeatures;
  }

  protected override compute(x: Tensor): Tensor {
    const out = this.lora_B.forward(this.lora_A.forward(x));
    return this.scale === 1 ? out : out.mul(this.scale);
  }

  /** scale · B · A, [out, in]: what it adds to the layer's weight. */
  delta(): Tensor {
    return this.run(() => this.lora_B.weight.master.matmul(this.lora_A.weight.master).mul(this.scale));
  }
}

/** All adapters of a model. Their weights are a model of their own: keys are the layers' paths followed by `lora_A.weight`, `lora_B.weight`. */
export class LoraAdapters extends Module<[], void> {
  readonly #layers: ReadonlyMap<string, { readonly layer: Linear; readonly adapter: LoraLayer }>;

  constructor(layers: ReadonlyMap<string, { readonly layer: Linear; readonly adapter: LoraLayer }>) {
    super();
    this.#layers = layers;
  }

  override *children(): Generator<[name: string, module: Module<never[], unknown>]> {
    for (const [path, { adapter }] of this.#layers) yield [path, adapter];
  }

  /** Adds each adapter's product to its layer's weight and takes the adapters off: the same model with its own keys only. */
  merge(): void {
    noGrad(() =>
      scope(() => {
        for (const { layer, adapter } of this.#layers.values()) layer.weight.master.add_(adapter.delta());
      }),
    );
    this.detach();
  }

  /** Takes the adapters off; the model is as it was before them. */
  detach(): void {
    for (const { layer, adapter } of this.#layers.values()) if (layer.adapter === adapter) layer.adapter = null;
  }

  /** Reads all adapters back, for `writeLora`. */
  async weights(dtype: "F32" | "F16" | "BF16" = "F32"): Promise<LoraWeights> {
    const entries = new Map((await this.entries(dtype)).map((entry) => [entry.name, entry]));
    return new Map(
      [...this.#layers].map(([path, { adapter }]): [string, LoraLayerWeights] => [
        path,
        {
          down: entries.get(`${path}.lora_A.weight`)!,
          up: entries.get(`${path}.lora_B.weight`)!,
          alpha: adapter.alpha,
        },
      ]),
    );
  }

  protected override compute(): void {}
}

/** Paths of the linear layers of a model, which are what adapters can be put on. */
export function loraPaths(model: Module<never[], unknown>): string[] {
  return [...model.namedModules()].filter(([, module]) => module instanceof Linear).map(([path]) => path);
}

/** Paths of the layers into whose weights adapters can be merged: the linear ones and the convolutions. */
export function mergeablePaths(model: Module<never[], unknown>): string[] {
  return [...model.namedModules()]
    .filter(([, module]) => module instanceof Linear || module instanceof Conv2d)
    .map(([path]) => path);
}

/**
 * Adds `scale` · alpha / rank · B · A of each adapter of a file (`readLora` with {@link mergeablePaths}) to the weight of its layer, as if it had been trained
 * so; of several files the sums add up.
 * @throws CheckpointError naming `file` when the model has no such layer or a matrix has another shape; nothing is changed then
 */
export function mergeLora(
  model: Module<never[], unknown>,
  weights: LoraWeights,
  options: { readonly scale?: number; readonly file?: string } = {},
): void {
  const { scale = 1, file = "lora" } = options;
  const modules = new Map([...model.namedModules()]);
  const layers = [...weights].map(([path, adapter]) => {
    const layer = modules.get(path);
    if (!(layer instanceof Linear || layer instanceof Conv2d))
      throw new CheckpointError(file, `the model has no linear layer or convolution ${path}`);
    const { shape } = layer.weight;
    const [rows, columns] = [shape[0]!, shape.slice(1)];
    const given = [adapter.up.shape[0]!, ...adapter.down.shape.slice(1)];
    // A 1×1 convolution's adapter may come as matrices.
    const fits = numel(given) === numel(shape) && given[0] === rows && given[1] === columns[0];
    if (!fits) {
      const text = `${path}: the adapter's product is [${given.join(", ")}], the weight is [${shape.join(", ")}]`;
      throw new CheckpointError(file, text);
    }
    return { weight: layer.weight.master, adapter };
  });
  noGrad(() =>
    scope(() => {
      for (const { weight, adapter } of layers) {
        const { up, down, alpha } = adapter;
        const rank = down.shape[0]!;
        const { device } = weight;
        const [b, a] = [
          tensor(device, entryToFloat32(up), up.shape),
          tensor(device, entryToFloat32(down), [rank, numel(down.shape) / rank]),
        ];
        weight.add_(
          b
            .matmul(a)
            .mul((scale * alpha) / rank)
            .reshape(...weight.shape),
        );
      }
    }),
  );
}

/**
 * Puts adapters from a file (`readLora`) on the layers of `model` that they name, each with its own rank and alpha.
 * @throws CheckpointError when the model has no such linear layer or a matrix has another shape
 */
export function loadLora(model: Module<never[], unknown>, weights: LoraWeights, device: Device): LoraAdapters {
  const linear = new Map([...model.namedModules()]);
  const layers = new Map<string, { layer: Linear; adapter: LoraLayer }>();
  for (const [path, { down, alpha }] of weights) {
    const layer = linear.get(path);
    if (!(layer instanceof Linear)) throw new CheckpointError("lora", `the model has no linear layer ${path}`);
    const rank = down.shape[0]!;
    layers.set(path, { layer, adapter: new LoraLayer(layer.inFeatures, layer.outFeatures, rank, alpha) });
  }
  const adapters = new LoraAdapters(layers);
  const state = [...weights].flatMap(([path, { down, up }]): [string, typeof down][] => [
    [`${path}.lora_A.weight`, down],
    [`${path}.lora_B.weight`, up],
  ]);
  adapters.loadStateDict(new Map(state), { device, file: "lora" });
  for (const { layer, adapter } of layers.values()) layer.adapter = adapter;
  return adapters;
}

/**
 * Puts an adapter on every linear layer of `model` whose path matches. They have no memory yet: `initialize` or load them. The model's own weights
 * keep asking for gradients until `model.requiresGrad(false)`.
 * @throws DataError when the rank is not positive or no layer matches
 */
export function addLora(model: Module<never[], unknown>, options: LoraOptions): LoraAdapters {
  const { rank, alpha = rank, targets = ATTENTION_PROJECTIONS } = options;
  if (!Number.isInteger(rank) || rank < 1) throw new DataError("lora", 0, "rank", `${rank} is no positive integer`);
  const layers = new Map<string, { layer: Linear; adapter: LoraLayer }>();
  for (const [path, layer] of model.namedModules()) {
    if (!(layer instanceof Linear) || !targets.test(path)) continue;
    const adapter = new LoraLayer(layer.inFeatures, layer.outFeatures, rank, alpha);
    layer.adapter = adapter;
    layers.set(path, { layer, adapter });
  }
  if (layers.size === 0) throw new DataError("lora", 0, "targets", `no linear layer's path matches ${targets}`);
  return new LoraAdapters(layers);
}
