/** Reads the files that PyTorch computed (their format is in reference/README.md). */
import { readdirSync, readFileSync } from "node:fs";
import { type Device, type DType, type Tensor, tensor } from "@refl/tensor";

const FOLDER = new URL("golden/", import.meta.url);

interface StoredTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly data: Float32Array | Int32Array;
}

export interface Golden {
  /** The JSON file beside the tensors. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** The names of all files. */
export const goldenNames: readonly string[] = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".safetensors"))
  .map((file) => file.slice(0, -".safetensors".length))
  .sort();

/** safetensors: the header's length as u64, the header as JSON (dtype, shape, data_offsets), the data. Here only F32 and I32. */
export function readGolden(name: string): Golden {
  const file = new Uint8Array(readFileSync(new URL(`${name}.safetensors`, FOLDER)));
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, StoredTensor>();
  for (const [key, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (key === "__metadata__") continue;
    if (dtype !== "F32" && dtype !== "I32") throw new TypeError(`${name}: ${key} is ${dtype}`);
    const bytes = file.slice(8 + length + data_offsets[0], 8 + length + data_offsets[1]).buffer;
    const data = dtype === "F32" ? new Float32Array(bytes) : new Int32Array(bytes);
    tensors.set(key, { shape, dtype: dtype === "F32" ? "f32" : "i32", data });
  }
  return { config: JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8")), tensors };
}

/** The tensors whose key begins with `prefix`, by the rest of the key. */
export function part({ tensors }: Golden, prefix: string): [key: string, stored: StoredTensor][] {
  return [...tensors].flatMap(([key, stored]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), stored]] : []));
}

export const upload = (device: Device, { data, shape, dtype }: StoredTensor): Tensor =>
  tensor(device, data, shape, dtype);
