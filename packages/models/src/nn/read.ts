/** Reading many tensors back with few waits. */
import { noGrad } from "@refl/autograd";
import { cat, isFloat, scope, type Tensor } from "@refl/tensor";

/** Elements joined into one read: 32 MiB of f32, or what the device binds where that is less. */
const CHUNK = 8 * 2 ** 20;

function groups(tensors: readonly Tensor[]): Tensor[][] {
  const made: Tensor[][] = [];
  let open: Tensor[] = [];
  let size = 0;
  for (const tensor of tensors) {
    if (
      open.length > 0 &&
      (size + tensor.numel > Math.min(CHUNK, tensor.device.largestBinding / 4) ||
        tensor.dtype !== open[0]!.dtype ||
        tensor.device !== open[0]!.device)
    ) {
      made.push(open);
      open = [];
      size = 0;
    }
    open.push(tensor);
    size += tensor.numel;
  }
  if (open.length > 0) made.push(open);
  return made;
}

/** The values of float tensors (f16 widened) in row-major order, in as few reads as 32 MiB each allow. */
export async function readTensors(tensors: readonly Tensor[]): Promise<Float32Array[]> {
  const values: Float32Array[] = [];
  for (const group of groups(tensors)) {
    if (!isFloat(group[0]!.dtype)) throw new TypeError(`readTensors: ${group[0]!.dtype} is no float dtype`);
    const joined = noGrad(() => scope(() => cat(group.map((tensor) => tensor.reshape(-1))).alias()));
    try {
      const flat = (await joined.data()) as Float32Array;
      let at = 0;
      for (const tensor of group) {
        values.push(flat.slice(at, at + tensor.numel));
        at += tensor.numel;
      }
    } finally {
      joined.dispose();
    }
  }
  return values;
}
