/** The files of `reference/golden/single_file.py`, made again of the weights' names. */
import { float32Entry } from "../../src/formats/entries.ts";
import { type TensorEntry, writeSafetensors } from "../../src/formats/safetensors.ts";
import { seededRule, seededWeight } from "../../src/nn/seeded.ts";

/** `single_file.json`. */
export interface SingleFileGolden {
  readonly options: { readonly steps: number; readonly guidance: number; readonly seed: number };
  readonly scales: { readonly kohya: number; readonly diffusers: number };
  /** Names and shapes of the file, and the names that draw the weights. */
  readonly single: readonly (readonly [name: string, shape: number[], draw: string])[];
  readonly files: Record<"kohya" | "diffusers", readonly (readonly [name: string, shape: number[], value?: number])[]>;
}

const file = (entries: readonly TensorEntry[]): Uint8Array => writeSafetensors(entries);

/** The whole model in latent-diffusion's form. */
export function ldmFile({ single }: SingleFileGolden): Uint8Array {
  return file(
    single.map(([name, shape, key]) => {
      const [part = ""] = key.split(".");
      // 1×1 kernels there are matrices where the weights were drawn.
      const own = /attentions\.0\.to_/.test(key) && part === "vae" ? shape.slice(0, 2) : shape;
      const rule = seededRule(key.slice(part.length + 1), own);
      return float32Entry(name, shape, seededWeight(key, own, 0, rule));
    }),
  );
}

/** A LoRA file. */
export function loraFile({ files }: SingleFileGolden, kind: "kohya" | "diffusers"): Uint8Array {
  return file(
    files[kind].map(([name, shape, value]) =>
      float32Entry(name, shape, value === undefined ? seededWeight(name, shape) : Float32Array.of(value)),
    ),
  );
}
