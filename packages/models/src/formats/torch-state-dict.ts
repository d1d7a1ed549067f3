/** Finding the state dict in what `torch.save` was given: bare, or wrapped beside the epoch and the optimiser. */
import { CheckpointError } from "@refl/tensor";
import { PickleObject } from "./pickle.ts";
import { TorchTensor } from "./torch-objects.ts";

/** Keys under which training code keeps the weights, in the order in which they are looked for. */
export const STATE_DICT_WRAPPERS: readonly string[] = [
  "state_dict",
  "model_state_dict",
  "model",
  "module",
  "params",
  "net",
  "network",
  "weights",
];

const MAX_DEPTH = 8;
const MAX_ATTRIBUTES = 1_000_000;

/** Tensors by name, and the plain values (epoch, step, version) that stood beside them, as text. */
export interface TorchStateDict {
  readonly tensors: ReadonlyMap<string, TorchTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

type Dict = ReadonlyMap<unknown, unknown>;

/**
 * The state dict in `root`. With `wrapper` (`"model"`, `"ema.params"`) it is the dict there; else the first of {@link STATE_DICT_WRAPPERS} that holds a
 * dict, again and again, and at last the dict whose values are tensors. Other values in it are passed over.
 * @throws CheckpointError naming the keys when there is none.
 */
export function torchStateDict(root: unknown, file: string, wrapper?: string): TorchStateDict {
  let dict = asDict(root);
  if (!dict) throw new CheckpointError(file, "holds no dict at its top, so its tensors have no names");
  const metadata = new Map<string, string>();
  const descend = (to: Dict): void => {
    for (const [key, value] of dict as Dict) {
      if (typeof key === "string" && ["string", "number", "boolean", "bigint"].includes(typeof value)) {
        metadata.set(key, String(value));
      }
    }
    dict = to;
  };
  if (wrapper !== undefined) {
    for (const key of wrapper.split(".")) {
      const inner = asDict(dict.get(key));
      if (!inner) throw new CheckpointError(file, `has no dict ${JSON.stringify(key)}; it has ${keys(dict)}`);
      descend(inner);
    }
  } else {
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const inner = STATE_DICT_WRAPPERS.map((key) => asDict((dict as Dict).get(key))).find((found) => found);
      if (!inner) break;
      descend(inner);
    }
  }
  const tensors = new Map<string, TorchTensor>();
  for (const [key, value] of dict) if (typeof key === "string" && value instanceof TorchTensor) tensors.set(key, value);
  if (tensors.size === 0 && dict.size > 0) {
    const inner = [...dict].filter(([, value]) => asDict(value)).map(([key]) => String(key));
    const hint = inner.length ? `; name one of its dicts as the wrapper: ${shorten(inner)}` : `; it has ${keys(dict)}`;
    throw new CheckpointError(file, `has no tensors at its top${hint}`);
  }
  return { tensors, metadata };
}

/** The tensors of a TorchScript module by their paths of attributes, which are those of its state dict. */
export function torchScriptStateDict(root: unknown, file: string): TorchStateDict {
  const tensors = new Map<string, TorchTensor>();
  let visited = 0;
  const walk = (value: unknown, path: string, depth: number): void => {
    if (value instanceof TorchTensor) tensors.set(path, value);
    if (!(value instanceof PickleObject) || !(value.state instanceof Map)) return;
    for (const [name, child] of value.state as Dict) {
      if (depth > 64 || ++visited > MAX_ATTRIBUTES) throw new CheckpointError(file, "has modules nested without end");
      if (typeof name === "string") walk(child, path ? `${path}.${name}` : name, depth + 1);
    }
  };
  walk(root, "", 0);
  return { tensors, metadata: new Map() };
}

function asDict(value: unknown): Dict | undefined {
  return value instanceof Map ? (value as Dict) : undefined;
}

function shorten(names: readonly string[]): string {
  const shown = names.slice(0, 12).map((name) => name.slice(0, 80));
  return shown.join(", ") + (names.length > shown.length ? `, … and ${names.length - shown.length} more` : "");
}

function keys(dict: Dict): string {
  return dict.size === 0 ? "nothing" : shorten([...dict.keys()].map(String));
}
