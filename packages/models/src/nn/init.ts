/** How weights begin: PyTorch's default distributions, drawn by counter so that no other weight's presence or order changes them. */
import { numel, PhiloxStream, philox4x32, type Shape, toUniform } from "@refl/tensor";

/** A distribution of initial values: all `value`, U(−bound, bound), or N(0, std²). */
export type Initializer =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "uniform"; readonly bound: number }
  | { readonly kind: "normal"; readonly std: number };

export const zerosInit: Initializer = { kind: "constant", value: 0 };
export const onesInit: Initializer = { kind: "constant", value: 1 };

/** N(0, std²). timm's and transformers' truncated normal with std 0.02 is this: its cut at ±2 lies at 100 deviations. */
export function normalInit(std: number): Initializer {
  return { kind: "normal", std };
}

/** PyTorch's default for the weights and biases of linear and conv layers: U(±1/√fanIn), which is kaiming_uniform with a = √5. */
export function fanInInit(fanIn: number): Initializer {
  return { kind: "uniform", bound: fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0 };
}

/** FNV-1a, 32 bits, of a text's UTF-8 bytes: the number of the random stream that belongs to a name. */
export function nameHash(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Values of `shape` in row-major order; element i is the stream's i-th uniform or normal number. */
export function drawInitial(initializer: Initializer, shape: Shape, stream: PhiloxStream): Float32Array {
  const values = new Float32Array(numel(shape));
  if (initializer.kind === "constant") return values.fill(initializer.value);
  const [low, high, number] = stream.words;
  const key = [low, high] as const;
  const { kind } = initializer;
  for (let block = 0; block * 4 < values.length; block++) {
    const words = philox4x32([block >>> 0, 0, number, 0], key);
    for (let lane = 0; lane < 4; lane += 2) {
      const [first, second] = [toUniform(words[lane]!), toUniform(words[lane + 1]!)];
      const at = block * 4 + lane;
      if (kind === "uniform") {
        values[at] = initializer.bound * (2 * first - 1);
        values[at + 1] = initializer.bound * (2 * second - 1);
      } else {
        const radius = initializer.std * Math.sqrt(-2 * Math.log(1 - first));
        values[at] = radius * Math.cos(2 * Math.PI * second);
        values[at + 1] = radius * Math.sin(2 * Math.PI * second);
      }
    }
  }
  return values;
}

/** The stream of the weight `name` under a model's seed. */
export function weightStream(seed: number, name: string): PhiloxStream {
  return new PhiloxStream(seed, nameHash(name));
}
