/** Where a batch of pictures gets its noise from: streams that depend on each picture alone, or PyTorch's generators. */
import { DataError, type Device, randn, type Tensor, tensor } from "@refl/tensor";
import { noiseStream, type PictureSeed, pictureSeeds } from "./picture-seed.ts";
import { TorchGenerator } from "./torch-random.ts";

/** `philox`: the noise of each picture by its own seed and index. `torch-cpu`: as PyTorch draws it on the CPU. */
export type NoiseKind = "philox" | "torch-cpu";

/**
 * Standard normal noise by draw: 0 is the initial noise, k that of the k-th call. PyTorch's draws must be asked in order; one that is given a number of
 * pictures draws for so many, as where all begin with one picture.
 * @param shape [pictures, …]
 * @throws DataError when seeds do not fit the pictures or the kind
 */
export function noiseSource(
  kind: NoiseKind,
  seeds: number | readonly (number | PictureSeed)[],
  device: Device,
  shape: readonly number[],
): (draw: number, count?: number) => Tensor {
  const pictures = shape[0] as number;
  const each = pictureSeeds(seeds, pictures);
  if (kind === "philox") {
    return (draw) =>
      randn(
        device,
        shape,
        each.map((seed) => noiseStream(seed, draw)),
      );
  }
  if (typeof seeds === "number") {
    const generator = new TorchGenerator(seeds);
    return (_, count = pictures) => {
      const drawn = [count, ...shape.slice(1)];
      return tensor(device, generator.randn(drawn), drawn);
    };
  }
  const odd = each.find(({ index }) => index !== 0);
  if (odd) {
    const message = `${odd.index} with torch-cpu noise, which a seed alone chooses: give each picture a seed of its own`;
    throw new DataError("sample", 0, "index", message);
  }
  const generators = each.map(({ seed }) => new TorchGenerator(seed));
  const one = [1, ...shape.slice(1)];
  return () => {
    const parts = generators.map((generator) => generator.randn(one));
    const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    for (const [i, part] of parts.entries()) all.set(part, i * part.length);
    return tensor(device, all, shape);
  };
}
