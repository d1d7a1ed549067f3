/** Golden files of PyTorch's results: their configs, inputs, weights and expected tensors. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Device, type Tensor, tensor } from "@refl/tensor";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { entryToFloat32 } from "../../src/formats/entries.ts";
import { openSafetensors, type SafetensorsFile, type TensorEntry } from "../../src/formats/safetensors.ts";

const FOLDER = fileURLToPath(new URL("../golden", import.meta.url));

export function goldenConfig(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8")) as Record<string, unknown>;
}

export function openGolden(name: string, folder = FOLDER): Promise<SafetensorsFile> {
  return openSafetensors(bytesSource(new Uint8Array(readFileSync(join(folder, `${name}.safetensors`))), name));
}

/** All tensors of a case. */
export class Golden {
  readonly name: string;
  readonly entries: ReadonlyMap<string, TensorEntry>;

  /** The case's configuration. */
  readonly config: Readonly<Record<string, unknown>>;

  private constructor(name: string, entries: ReadonlyMap<string, TensorEntry>, config: Record<string, unknown>) {
    this.name = name;
    this.entries = entries;
    this.config = config;
  }

  static async open(name: string, folder = FOLDER): Promise<Golden> {
    const entries = new Map<string, TensorEntry>();
    const file = await openGolden(name, folder);
    for await (const entry of file.entries()) entries.set(entry.name, entry);
    return new Golden(name, entries, JSON.parse(file.metadata.get("config") ?? "{}"));
  }

  values(key: string): Float32Array {
    return entryToFloat32(this.#entry(key));
  }

  /** A tensor of the file on the device: f32, or i32 for integers. */
  tensor(device: Device, key: string): Tensor {
    const entry = this.#entry(key);
    const integer = entry.dtype === "I32";
    return tensor(device, integer ? this.integers(key) : this.values(key), entry.shape);
  }

  integers(key: string): Int32Array {
    const { buffer, byteOffset, byteLength } = this.#entry(key).bytes.slice();
    return new Int32Array(buffer, byteOffset, byteLength / 4);
  }

  /** Weights below `param.<prefix>`, by the rest of their key. */
  weights(prefix = ""): Map<string, TensorEntry> {
    return this.below(`param.${prefix}`);
  }

  below(prefix: string): Map<string, TensorEntry> {
    const found = [...this.entries].filter(([key]) => key.startsWith(prefix));
    return new Map(found.map(([key, entry]) => [key.slice(prefix.length), entry]));
  }

  #entry(key: string): TensorEntry {
    const entry = this.entries.get(key);
    if (!entry) throw new Error(`${this.name} has no ${key}`);
    return entry;
  }
}
