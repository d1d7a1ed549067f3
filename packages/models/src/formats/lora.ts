/** Files of low-rank adapters (LoRA) as kohya's scripts, diffusers and PEFT name their tensors, written and read. */
import { CheckpointError } from "@refl/tensor";
import type { Checkpoint } from "./checkpoint.ts";
import { entryToFloat32, float32Entry } from "./entries.ts";
import { isJsonObject, type JsonObject, type JsonValue, parseJsonObject, stringifyJson } from "./json.ts";
import { type TensorEntry, writeSafetensors } from "./safetensors.ts";

/** One layer's adapter: its output is alpha / rank · up(down(x)). */
export interface LoraLayerWeights {
  /** `lora_A`: [rank, in]; of a convolution [rank, in, kernel, kernel]. */
  readonly down: TensorEntry;
  /** `lora_B`: [out, rank]. */
  readonly up: TensorEntry;
  readonly alpha: number;
}

/** Adapters by the path of the layer in the model. */
export type LoraWeights = ReadonlyMap<string, LoraLayerWeights>;

/**
 * `kohya`: `lora_unet_…_to_q.lora_down.weight`, `.lora_up.weight`, `.alpha` (sd-scripts, AUTOMATIC1111, ComfyUI; diffusers converts it).
 * `diffusers`: `unet.….to_q.lora_A.weight`, `.lora_B.weight`, ranks and alphas in the metadata. `peft`: `base_model.model.….lora_A.weight` with
 * `adapter_config.json` beside it ({@link peftConfig}).
 */
export type LoraFormat = "kohya" | "diffusers" | "peft";

/** The model that the adapters belong to. */
export type LoraComponent = "unet" | "text_encoder";

export interface LoraFileOptions {
  /** Default `unet`. */
  readonly component?: LoraComponent;
  /** Added to what the format needs, or in place of it: `ss_base_model_version`, `modelspec.title` and the like. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** What error messages call the file. Default `lora`. */
  readonly file?: string;
}

const KOHYA_PREFIX: Readonly<Record<LoraComponent, string>> = { unet: "lora_unet_", text_encoder: "lora_te_" };
const PEFT_PREFIX = "base_model.model.";
const ADAPTER_METADATA = "lora_adapter_metadata";

const rankOf = ({ down }: LoraLayerWeights): number => down.shape[0]!;

/** The value that occurs most often, the first of several. */
function commonest(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]![0];
}

/** Fields of PEFT's `LoraConfig` that say ranks and alphas; layers that differ from the commonest stand in the patterns. */
function loraConfig(weights: LoraWeights): JsonObject {
  const layers = [...weights];
  const pattern = (usual: number, of: (layer: LoraLayerWeights) => number): JsonObject =>
    Object.fromEntries(
      layers.filter(([, layer]) => of(layer) !== usual).map(([path, layer]) => [`^${path}`, of(layer)]),
    );
  const rank = commonest(layers.map(([, layer]) => rankOf(layer)));
  const alpha = commonest(layers.map(([, layer]) => layer.alpha));
  return {
    peft_type: "LORA",
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    bias: "none",
    target_modules: layers.map(([path]) => path),
    rank_pattern: pattern(rank, rankOf),
    alpha_pattern: pattern(alpha, (layer) => layer.alpha),
  };
}

/** `adapter_config.json` for adapters in PEFT's form. */
export function peftConfig(weights: LoraWeights, baseModel: string | null = null): JsonObject {
  return { ...loraConfig(weights), base_model_name_or_path: baseModel, task_type: null };
}

/**
 * Serialises adapters as a safetensors file.
 * @throws CheckpointError when there are none, or a layer's two matrices do not fit.
 */
export function writeLora(weights: LoraWeights, format: LoraFormat, options: LoraFileOptions = {}): Uint8Array {
  const { component = "unet", metadata = {}, file = "lora" } = options;
  if (weights.size === 0) throw new CheckpointError(file, "has no adapters to write");
  const entries: TensorEntry[] = [];
  for (const [path, layer] of weights) {
    checkLayer(file, path, layer);
    const { down, up, alpha } = layer;
    if (format === "kohya") {
      const name = KOHYA_PREFIX[component] + path.replaceAll(".", "_");
      entries.push({ ...down, name: `${name}.lora_down.weight` }, { ...up, name: `${name}.lora_up.weight` });
      entries.push(float32Entry(`${name}.alpha`, [], Float32Array.of(alpha)));
    } else {
      const name = `${format === "peft" ? PEFT_PREFIX : `${component}.`}${path}`;
      entries.push({ ...down, name: `${name}.lora_A.weight` }, { ...up, name: `${name}.lora_B.weight` });
    }
  }
  return writeSafetensors(entries, { ...formatMetadata(weights, format, component), ...metadata }, file);
}

function formatMetadata(weights: LoraWeights, format: LoraFormat, component: LoraComponent): Record<string, string> {
  const config = loraConfig(weights);
  if (format === "kohya") {
    return {
      ss_network_module: "networks.lora",
      ss_network_dim: String(config["r"]),
      ss_network_alpha: String(config["lora_alpha"]),
    };
  }
  if (format === "peft") return { format: "pt" };
  const named = Object.fromEntries(Object.entries(config).map(([key, value]) => [`${component}.${key}`, value]));
  return { format: "pt", [ADAPTER_METADATA]: stringifyJson(named).trimEnd() };
}

function checkLayer(
  file: string,
  path: string,
  { down, up, alpha }: LoraLayerWeights,
  dimensions: readonly number[] = [2],
): void {
  const known = dimensions.includes(down.shape.length);
  const fits = known && up.shape.length === 2 && down.shape[0] === up.shape[1] && down.shape[0]! > 0;
  if (!fits) {
    const text = `${path}: lora_A [${down.shape.join(", ")}] and lora_B [${up.shape.join(", ")}] do not fit: [rank, in] and [out, rank] would`;
    throw new CheckpointError(file, text);
  }
  if (!Number.isFinite(alpha)) throw new CheckpointError(file, `${path}: alpha ${alpha} is no finite number`);
}

export interface ReadLoraOptions {
  /** Adapters of the other model are passed over. Default `unet`. */
  readonly component?: LoraComponent;
  /** `adapter_config.json` of adapters in PEFT's form. Without it, and without alphas in the file, alpha is the rank. */
  readonly config?: JsonObject;
}

/** Parts of a key behind the layer's path; the last are diffusers' before PEFT. */
const ENDINGS: readonly (readonly [ending: RegExp, part: "down" | "up" | "alpha"])[] = [
  [/\.(?:lora_A(?:\.\w+)?|lora_down|lora\.down|lora_linear_layer\.down)\.weight$/, "down"],
  [/\.(?:lora_B(?:\.\w+)?|lora_up|lora\.up|lora_linear_layer\.up)\.weight$/, "up"],
  [/\.alpha$/, "alpha"],
];

/**
 * Reads adapters of any of the forms.
 * @param paths of the model's layers: kohya's names are these with underscores, which alone cannot be taken back
 * @throws CheckpointError listing tensors that are no adapters of these layers (`unexpected`) and halves without their other (`missing`).
 */
export async function readLora(
  checkpoint: Checkpoint,
  paths: Iterable<string>,
  options: ReadLoraOptions = {},
): Promise<LoraWeights> {
  const { component = "unet", config } = options;
  const file = checkpoint.name;
  const known = new Set(paths);
  const flat = new Map([...known].map((path) => [path.replaceAll(".", "_"), path]));
  const layers = new Map<string, Partial<Record<"down" | "up" | "alpha", string>>>();
  const unexpected: string[] = [];
  for (const name of checkpoint.tensors.keys()) {
    if (isOthers(name, component)) continue;
    const now = modernName(name, component);
    const found = ENDINGS.find(([ending]) => ending.test(now));
    const path = found && layerPath(now.replace(found[0], ""), component, known, flat);
    const layer = (path !== undefined && layers.get(path)) || {};
    if (!found || path === undefined || layer[found[1]] !== undefined) unexpected.push(name);
    else layers.set(path, { ...layer, [found[1]]: name });
  }
  const missing = [...layers].filter(([, { down, up }]) => !down || !up).map(([path]) => path);
  if (unexpected.length > 0 || missing.length > 0 || layers.size === 0) {
    const parts = [
      ...(unexpected.length > 0
        ? [`${unexpected.length} tensors are no adapters of the model: ${unexpected.slice(0, 6).join(", ")}`]
        : []),
      ...(missing.length > 0
        ? [`${missing.length} layers have one matrix only: ${missing.slice(0, 6).join(", ")}`]
        : []),
      ...(layers.size === 0 ? [`no adapters of the ${component}`] : []),
    ];
    throw new CheckpointError(file, parts.join("; "), { missing, unexpected });
  }
  const alphaOf = alphas(checkpoint, component, config);
  const weights = new Map<string, LoraLayerWeights>();
  for (const [path, { down, up, alpha }] of layers) {
    const [lower, upper] = [squeezed(await checkpoint.read(down!)), squeezed(await checkpoint.read(up!))];
    const own = alpha === undefined ? undefined : entryToFloat32(await checkpoint.read(alpha))[0];
    const layer = { down: lower, up: upper, alpha: own ?? alphaOf(path, lower.shape[0]!) ?? lower.shape[0]! };
    checkLayer(file, path, layer, [2, 4]);
    weights.set(path, layer);
  }
  return weights;
}

/** Projections as attention processors named their adapters, in diffusers before 0.18. */
const PROCESSOR = /\.(?:processor\.)?(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight$/;

function modernName(name: string, component: LoraComponent): string {
  return name.replace(PROCESSOR, (_, projection: string, part: string) => {
    const unet = projection === "to_out" ? "to_out.0" : projection;
    const layer = component === "unet" ? unet : projection.replace(/^to_(.+)$/, "$1_proj");
    return `.${layer}.lora.${part}.weight`;
  });
}

/** Whether a file has adapters of a model. Names without a model's prefix count as the UNet's. */
export function hasLora(checkpoint: Checkpoint, component: LoraComponent): boolean {
  return [...checkpoint.tensors.keys()].some((name) => !isOthers(name, component) && namesOf(component).test(name));
}

function namesOf(component: LoraComponent): RegExp {
  return component === "unet" ? /./ : /^(lora_te_|text_encoder\.)/;
}

function isOthers(name: string, component: LoraComponent): boolean {
  return component === "unet" ? /^(lora_te\d?_|text_encoder(_2)?\.)/.test(name) : /^(lora_unet_|unet\.)/.test(name);
}

function layerPath(
  name: string,
  component: LoraComponent,
  known: ReadonlySet<string>,
  flat: ReadonlyMap<string, string>,
): string | undefined {
  const kohya = KOHYA_PREFIX[component];
  if (name.startsWith(kohya)) return flat.get(name.slice(kohya.length));
  const prefix = [PEFT_PREFIX, `${component}.`].find((prefix) => name.startsWith(prefix)) ?? "";
  const path = name.slice(prefix.length);
  // transformers 5 leaves the text encoder's own prefix out.
  return [path, `text_model.${path}`].find((candidate) => known.has(candidate));
}

/** 1×1 convolutions' adapters as matrices. */
function squeezed(entry: TensorEntry): TensorEntry {
  const { shape } = entry;
  return shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? { ...entry, shape: shape.slice(0, 2) } : entry;
}

/** Alphas that a config says, by path. */
function alphas(
  checkpoint: Checkpoint,
  component: LoraComponent,
  config: JsonObject | undefined,
): (path: string, rank: number) => number | undefined {
  const text = checkpoint.metadata.get(ADAPTER_METADATA);
  const stored = text === undefined ? {} : parseJsonObject(text, `${checkpoint.name}: ${ADAPTER_METADATA}`);
  const field = (name: string): JsonValue | undefined => config?.[name] ?? stored[`${component}.${name}`];
  const usual = field("lora_alpha");
  const pattern = field("alpha_pattern");
  // Rank-stabilised adapters (arXiv 2312.03732) are scaled by alpha / √rank.
  const stabilised = field("use_rslora") === true;
  return (path, rank) => {
    const exceptions = isJsonObject(pattern) ? pattern : {};
    const key = Object.keys(exceptions).find((key) =>
      key.startsWith("^") ? path === key.slice(1) : path === key || path.endsWith(`.${key}`),
    );
    const alpha = key === undefined ? usual : exceptions[key];
    if (typeof alpha !== "number") return undefined;
    return stabilised ? alpha * Math.sqrt(rank) : alpha;
  };
}
