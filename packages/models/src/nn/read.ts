/** Reading many tensors back with few waits. */
import { noGrad } from "@refl/autograd";
import { cat, isFloat, numel, scope, type Tensor } from "@refl/tensor";

/** Elements joined into one read of {@link readTensors}: 32 MiB of f32, or what the device binds where that is less. */
const CHUNK = 8 * 2 ** 20;

/** Elements from `first` up to `last` of a tensor in row-major order. */
interface Part {
  readonly tensor: Tensor;
  readonly first: number;
  readonly last: number;
}

/** Cuts tensors into reads of at most `most` elements, each of one dtype and device. */
function* reads(tensors: Iterable<Tensor>, most: number): Generator<Part[]> {
  let open: Part[] = [];
  let room = 0;
  for (const tensor of tensors) {
    const before = open[0]?.tensor;
    if (before && (tensor.dtype !== before.dtype || tensor.device !== before.device)) room = 0;
    for (let first = 0; first < tensor.numel; ) {
      if (room === 0) {
        if (open.length > 0) yield open;
        open = [];
        room = Math.min(most, Math.floor(tensor.device.largestBinding / 4));
      }
      const last = Math.min(tensor.numel, first + room);
      open.push({ tensor, first, last });
      room -= last - first;
      first = last;
    }
  }
  if (open.length > 0) yield open;
}

/**
 * The values of float tensors (f16 widened), one tensor after the other in row-major order, in pieces of at most `most` elements that begin and end
 * anywhere: each piece is one read.
 * @throws TypeError for a tensor of another dtype
 */
export async function* readValues(tensors: Iterable<Tensor>, most = CHUNK): AsyncGenerator<Float32Array> {
  for (const parts of reads(tensors, most)) {
    const { dtype } = parts[0]!.tensor;
    if (!isFloat(dtype)) throw new TypeError(`readValues: ${dtype} is no float dtype`);
    const flat = ({ tensor, first, last }: Part): Tensor => tensor.reshape(-1).slice(0, first, last);
    const joined = noGrad(() => scope(() => (parts.length === 1 ? flat(parts[0]!) : cat(parts.map(flat))).alias()));
    let values: Float32Array;
    try {
      values = (await joined.data()) as Float32Array;
    } finally {
      joined.dispose();
    }
    yield values;
  }
}

/** The values of float tensors (f16 widened) in row-major order, in as few reads as 32 MiB each allow. */
export async function readTensors(tensors: readonly Tensor[]): Promise<Float32Array[]> {
  const lists = tensors.map(({ shape }) => new Float32Array(numel(shape)));
  let list = 0;
  let at = 0;
  for await (const piece of readValues(tensors)) {
    for (let used = 0; used < piece.length; ) {
      while (at === lists[list]!.length) {
        list++;
        at = 0;
      }
      const values = lists[list]!;
      const part = piece.subarray(used, used + values.length - at);
      values.set(part, at);
      at += part.length;
      used += part.length;
    }
  }
  return lists;
}
