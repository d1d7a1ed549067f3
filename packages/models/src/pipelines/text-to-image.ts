/** Pictures from prompts: tokenizer, text encoder, UNet, scheduler and the codec between latents and pixels, as one diffusers folder. */
import { noGrad } from "@refl/autograd";
import {
  cat,
  DataError,
  type Device,
  full,
  type HostTensor,
  ShapeError,
  scope,
  type Tensor,
  toDevice,
} from "@refl/tensor";
import { type ModelFolder, subfolder, type WritableModelFolder } from "../formats/folder.ts";
import { componentClass, type ModelIndex, modelIndexToJson, readModelIndex } from "../formats/model-index.ts";
import { clipTextRename, POSITION_IDS } from "../formats/state-dict.ts";
import { CLIPTextModel } from "../models/clip-text.ts";
import { DIFFUSION_WEIGHTS, loadModel, saveModel, type WeightsDType } from "../models/folder.ts";
import { UNet2DConditionModel } from "../models/unet.ts";
import { type LoadTokenizerOptions, loadTokenizer, TOKENIZER_CLASSES } from "../tokenizers/load-tokenizer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { type GuidanceOptions, guide } from "./guidance.ts";
import { CODEC_CLASSES, type LatentCodec, loadCodec } from "./latent-codec.ts";
import { type NoiseKind, noiseSource } from "./noise-source.ts";
import { ENCODING_DRAW, type PictureSeed } from "./picture-seed.ts";
import { readScheduler, SCHEDULER_CLASSES } from "./read-scheduler.ts";
import { Sampler, type Scheduler } from "./sampler.ts";

export interface TextToImageComponents {
  readonly tokenizer: Tokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;
  readonly scheduler: Scheduler;
  readonly codec: LatentCodec;
}

/** A picture that a run begins with, and how far it may leave it (SDEdit, Meng et al. 2022, arXiv 2108.01073). */
export interface InitImage {
  /** [1, 3, H, W] for all pictures, or one each, in [0, 1]; H and W are the pictures' size. Stays the caller's. */
  readonly rgb: Tensor;
  /** Share of the steps that is run, above 0 and up to 1, where nothing of the picture but its size stays certain. */
  readonly strength: number;
}

export interface SampleOptions {
  /** One picture each. */
  readonly prompts: readonly string[];
  /** One seed for all, or one a picture. */
  readonly seeds: number | readonly (number | PictureSeed)[];
  /** Sampler steps. Default 20. */
  readonly steps?: number;
  /** Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): out = uncond + scale · (cond − uncond); 1 or less uses no second pass. Default 1. */
  readonly guidanceScale?: number;
  /** Share of the guided output that is brought back to the deviation of the unguided one, 0 to 1 (arXiv 2305.08891). Default 0. */
  readonly guidanceRescale?: number;
  /** What guidance leads away from: for all pictures, or one each. Default empty. */
  readonly negativePrompt?: string | readonly string[];
  /**
   * `philox` (default): each picture's noise depends on its own seed and index alone. `torch-cpu`: what PyTorch draws on the CPU, one generator
   * for all pictures where `seeds` is one number, one generator a picture where it is a list (their indices must be 0).
   */
  readonly noise?: NoiseKind;
  /** Share of DDPM's noise that a DDIM step adds. Default 0; PNDM takes no other. */
  readonly eta?: number;
  /** Height and width in pixels, multiples of {@link TextToImagePipeline.sizeUnit}. Default: the UNet's `sample_size` times that factor; with `init` its picture's. */
  readonly size?: readonly [height: number, width: number];
  /** Begin with a picture instead of noise alone. */
  readonly init?: InitImage;
  /** Checked between steps; the generator then throws its reason. */
  readonly signal?: AbortSignal;
}

/** After each step. */
export interface SampleProgress {
  /** Calls of the model done, from 1. */
  readonly step: number;
  /** All calls: the steps, and with PNDM a few more. */
  readonly steps: number;
  /** The training timestep that the step left. */
  readonly timestep: number;
}

/** What a folder with diffusers' components alone is called, and one with a codec of this project. */
const CLASS_NAMES = { diffusers: "StableDiffusionPipeline", own: "TextToImagePipeline" } as const;
/** The library that a folder names for components of this project. */
const OWN_LIBRARY = "refl";

export class TextToImagePipeline {
  readonly device: Device;
  readonly tokenizer: Tokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;
  readonly scheduler: Scheduler;
  readonly codec: LatentCodec;

  /** @throws DataError naming the config field when components do not fit each other */
  constructor(device: Device, { tokenizer, textEncoder, unet, scheduler, codec }: TextToImageComponents) {
    this.device = device;
    this.tokenizer = tokenizer;
    this.textEncoder = textEncoder;
    this.unet = unet;
    this.scheduler = scheduler;
    this.codec = codec;
    const fail = (field: string, message: string): never => {
      throw new DataError("pipeline", 0, field, message);
    };
    const { hidden_size: width, vocab_size: words, max_position_embeddings: positions } = textEncoder.config;
    if (unet.crossAttentionDim !== width) {
      fail("unet.cross_attention_dim", `${unet.crossAttentionDim}, text_encoder.hidden_size is ${width}`);
    }
    if (tokenizer.vocabSize > words) {
      fail("text_encoder.vocab_size", `${words}, the tokenizer has ${tokenizer.vocabSize} ids`);
    }
    if (tokenizer.maxLength > positions) {
      fail("text_encoder.max_position_embeddings", `${positions}, the tokenizer makes ${tokenizer.maxLength} tokens`);
    }
    for (const field of ["in_channels", "out_channels"] as const) {
      if (unet.config[field] !== codec.latentChannels) {
        fail(`unet.${field}`, `${unet.config[field]}, the codec has ${codec.latentChannels} latent channels`);
      }
    }
  }

  /**
   * Opens a diffusers folder.
   * @throws CheckpointError for missing, damaged or unfitting files; DataError for configs and component classes that are not supported
   */
  static async fromFolder(
    folder: ModelFolder,
    device: Device,
    options: { readonly tokenizer?: Omit<LoadTokenizerOptions, "path"> } = {},
  ): Promise<TextToImagePipeline> {
    const index = await readModelIndex(folder);
    const file = `${folder.name}/model_index.json`;
    expectClass(index, "tokenizer", TOKENIZER_CLASSES, file);
    expectClass(index, "text_encoder", ["CLIPTextModel"], file);
    expectClass(index, "unet", ["UNet2DConditionModel"], file);
    const codecClass = expectClass(index, "vae", CODEC_CLASSES, file);
    const scheduler = await readScheduler(folder, expectClass(index, "scheduler", SCHEDULER_CLASSES, file));
    const tokenizer = await loadTokenizer(folder, options.tokenizer);
    const loaded: { dispose(): void }[] = [];
    const held = <Part extends { dispose(): void }>(part: Part): Part => {
      loaded.push(part);
      return part;
    };
    try {
      const codec = held(await loadCodec(subfolder(folder, "vae"), device, codecClass));
      const textEncoder = held(
        await loadModel((json, at) => new CLIPTextModel(json, at), folder, device, {
          path: "text_encoder",
          rename: clipTextRename,
          ignore: [POSITION_IDS],
        }),
      );
      const unet = held(
        await loadModel((json, at) => new UNet2DConditionModel(json, at), folder, device, {
          path: "unet",
          weights: DIFFUSION_WEIGHTS,
        }),
      );
      return new TextToImagePipeline(device, { tokenizer, textEncoder, unet, scheduler, codec });
    } catch (error) {
      for (const part of loaded) part.dispose();
      throw error;
    }
  }

  /** Writes a diffusers folder; `model_index.json` comes last, so that a folder that was cut short does not open. */
  async save(folder: WritableModelFolder, options: { readonly dtype?: WeightsDType } = {}): Promise<void> {
    await saveModel(this.unet, folder, { path: "unet", weights: DIFFUSION_WEIGHTS, ...options });
    await saveModel(this.textEncoder, folder, { path: "text_encoder", ...options });
    await this.tokenizer.save(folder);
    const scheduler = this.scheduler.toConfig();
    await folder.writeJson("scheduler/scheduler_config.json", scheduler);
    const { className, model } = this.codec;
    if (model) await saveModel(model, folder, { path: "vae", weights: DIFFUSION_WEIGHTS, ...options });
    else await folder.writeJson("vae/config.json", this.codec.toConfig());
    const index: ModelIndex = {
      className: model ? CLASS_NAMES.diffusers : CLASS_NAMES.own,
      components: new Map([
        ["scheduler", ["diffusers", String(scheduler["_class_name"])]],
        ["text_encoder", ["transformers", "CLIPTextModel"]],
        ["tokenizer", ["transformers", this.tokenizer.className]],
        ["unet", ["diffusers", "UNet2DConditionModel"]],
        ["vae", [model ? "diffusers" : OWN_LIBRARY, className]],
      ]),
      options: new Map(model ? [["requires_safety_checker", false]] : []),
    };
    await folder.writeJson("model_index.json", modelIndexToJson(index));
  }

  /** Token ids of prompts on the host, [prompts, tokens] i32. */
  tokenIds(prompts: readonly string[]): HostTensor {
    const ids = new Int32Array(prompts.length * this.tokenizer.maxLength);
    for (const [i, prompt] of prompts.entries())
      ids.set(this.tokenizer.encode(prompt).ids, i * this.tokenizer.maxLength);
    return { values: ids, shape: [prompts.length, this.tokenizer.maxLength], dtype: "i32" };
  }

  /** Token ids of prompts, [prompts, tokens] i32, for training and for the text encoder. */
  tokenize(prompts: readonly string[]): Tensor {
    return toDevice(this.device, { ids: this.tokenIds(prompts) }).ids;
  }

  /** Text states of prompts, [prompts, tokens, hidden_size]; with gradients unless inside `noGrad`. */
  encodePrompt(prompts: readonly string[]): Tensor {
    return scope(() => this.textEncoder.forward(this.tokenize(prompts)));
  }

  /** Height and width of pictures are multiples of so many pixels: the codec's factor times the UNet's halvings. */
  get sizeUnit(): number {
    return this.codec.config.factor * 2 ** (this.unet.config.block_out_channels.length - 1);
  }

  /** Height and width in pixels that the UNet is made for. @throws DataError when its config does not say. */
  get defaultSize(): readonly [height: number, width: number] {
    const size = this.unet.config.sample_size;
    if (size === null) throw new DataError("unet/config.json", 0, "sample_size", "is not set: pass a size");
    const { factor } = this.codec.config;
    const [height, width] = typeof size === "number" ? [size, size] : size;
    return [height * factor, width * factor];
  }

  /**
   * Draws pictures. Yields after each step, when the device has done it; returns rgb [pictures, 3, H, W] in [0, 1], which the caller disposes.
   * Nothing is kept for gradients. Ending the iteration early, an abort or an error gives all memory back.
   * @throws DataError for counts that do not fit; the signal's reason after an abort
   */
  async *sample(options: SampleOptions): AsyncGenerator<SampleProgress, Tensor> {
    const { prompts, steps = 20, guidanceScale = 1, guidanceRescale = 0, eta = 0, init = null, signal } = options;
    if (prompts.length === 0) throw new DataError("sample", 0, "prompts", "needs at least one prompt");
    const guided = guidanceScale > 1;
    const size = this.#size(options);
    const { factor } = this.codec.config;
    const shape = [prompts.length, this.codec.latentChannels, size[0] / factor, size[1] / factor];
    const draw = noiseSource(options.noise ?? "philox", options.seeds, this.device, shape);
    signal?.throwIfAborted();
    using sampler = new Sampler(this.scheduler, steps, eta, init ? firstStep(steps, init.strength) : 0);
    const { timesteps } = sampler;
    const states = noGrad(() =>
      scope(() => this.#states(prompts, guided ? (options.negativePrompt ?? "") : null).alias()),
    );
    let latents: Tensor | null = null;
    try {
      latents = noGrad(() => scope(() => this.#begin(init, timesteps[0]!, draw).alias()));
      for (const [i, timestep] of timesteps.entries()) {
        const before: Tensor = latents;
        latents = noGrad(() =>
          scope(() => {
            const guidance = guided ? { scale: guidanceScale, rescale: guidanceRescale } : null;
            const out = this.#predict(before, timestep, states, guidance);
            return sampler.advance(i, before, out, sampler.isNoisy(i) ? draw(i + 1) : null);
          }),
        );
        before.dispose();
        await this.device.sync();
        signal?.throwIfAborted();
        yield { step: i + 1, steps: timesteps.length, timestep };
      }
      const last = latents;
      // An autoencoder's buffers have other sizes than the UNet's, so that each would keep the other's free ones beside its own: of Stable Diffusion, gigabytes.
      const trim = (): void => void (this.codec.model && this.device.trim());
      trim();
      const rgb = noGrad(() => scope(() => this.codec.decode(last).alias()));
      trim();
      return rgb;
    } finally {
      latents?.dispose();
      states.dispose();
    }
  }

  /** As {@link sample} without the progress. */
  async generate(options: SampleOptions): Promise<Tensor> {
    const run = this.sample(options);
    for (;;) {
      const next = await run.next();
      if (next.done) return next.value;
    }
  }

  /** Gives the memory of all weights back. */
  dispose(): void {
    this.unet.dispose();
    this.textEncoder.dispose();
    this.codec.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Height and width of a run's pictures. @throws DataError or ShapeError when they do not fit the codec, or the picture that the run begins with. */
  #size({ prompts, size, init }: SampleOptions): readonly [height: number, width: number] {
    const given = init?.rgb.shape;
    if (given && (given.length !== 4 || given[1] !== 3 || (given[0] !== 1 && given[0] !== prompts.length))) {
      throw new ShapeError("sample", [given], `the picture to begin with must be [1 or ${prompts.length}, 3, H, W]`);
    }
    const [height, width] = size ?? (given ? [given[2]!, given[3]!] : this.defaultSize);
    const unit = this.sizeUnit;
    if (![height, width].every((side) => Number.isInteger(side / unit) && side > 0)) {
      throw new DataError("sample", 0, "size", `${height} x ${width} pixels; both must be multiples of ${unit}`);
    }
    if (given && (given[2] !== height || given[3] !== width)) {
      throw new DataError(
        "sample",
        0,
        "size",
        `${height} x ${width}, the picture to begin with is ${given[2]} x ${given[3]}`,
      );
    }
    return [height, width];
  }

  /** What a run begins with: noise, or a picture's latents with noise up to the first timestep. */
  #begin(init: InitImage | null, timestep: number, draw: (draw: number, count?: number) => Tensor): Tensor {
    if (!init) return draw(0).mul(this.scheduler.initNoiseSigma);
    const { rgb } = init;
    // One generator of PyTorch draws once for a picture that all begin with; streams and generators of each picture draw for each.
    const noise = this.codec.isVariational ? draw(ENCODING_DRAW, rgb.shape[0]!) : null;
    const [signal, sigma] = this.scheduler.addNoiseCoefficients(timestep);
    return this.codec.encode(rgb, noise).mul(signal).add(draw(0).mul(sigma));
  }

  /** Text states of the prompts, after those of the negative prompts where these are given. */
  #states(prompts: readonly string[], negative: string | readonly string[] | null): Tensor {
    if (negative === null) return this.encodePrompt(prompts);
    const against = typeof negative === "string" ? prompts.map(() => negative) : negative;
    if (against.length !== prompts.length) {
      throw new DataError("sample", 0, "negativePrompt", `${against.length} for ${prompts.length} prompts`);
    }
    return this.encodePrompt([...against, ...prompts]);
  }

  #predict(latents: Tensor, timestep: number, states: Tensor, guidance: GuidanceOptions | null): Tensor {
    const time = full(this.device, [1], timestep);
    if (guidance === null) return this.unet.forward(latents, time, states);
    const [without, given] = this.unet.forward(cat([latents, latents], 0), time, states).chunk(2, 0) as [
      Tensor,
      Tensor,
    ];
    return guide(without, given, guidance);
  }
}

/** The step with which a run of a strength begins, as diffusers counts. @throws DataError for a strength that leaves no step, or is above 1 */
function firstStep(steps: number, strength: number): number {
  if (!(strength > 0 && strength <= 1)) {
    throw new DataError("sample", 0, "strength", `${strength} is not above 0 and up to 1`);
  }
  const run = Math.trunc(steps * strength);
  if (run === 0) throw new DataError("sample", 0, "strength", `${strength} of ${steps} steps leaves none to run`);
  return steps - run;
}

function expectClass<const Name extends string>(
  index: ModelIndex,
  component: string,
  known: readonly Name[],
  file: string,
): Name {
  const [, found] = componentClass(index, component, file);
  const match = known.find((name) => name === found);
  if (!match) throw new DataError(file, 0, component, `class ${found} is not supported, only ${known.join(", ")}`);
  return match;
}
