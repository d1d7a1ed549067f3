/** Reading a strided view of a storage that lies in a file, in pieces of bounded size. */

/** A storage is read in pieces of at most this many bytes where a view is not contiguous. */
const PIECE_BYTES = 32 * 2 ** 20;

/** Sizes, strides and offset of a view, all in elements. */
export interface StridedView {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** Bytes per element: 1, 2, 4 or 8. */
  readonly elementSize: number;
}

/** Number of elements from a view's first to its last, inclusive; 0 for an empty one. */
export function viewSpan({ shape, strides }: Pick<StridedView, "shape" | "strides">): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((span, size, i) => span + (size - 1) * strides[i]!, 1);
}

function isRowMajor({ shape, strides }: StridedView): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

/** Gives `length` bytes of a storage from byte `offset` on, in `into` where that is given and long enough. */
export type StorageReader = (offset: number, length: number, into?: Uint8Array) => Promise<Uint8Array>;

/**
 * The elements of a view in row-major order; a contiguous view is one read, for which `into` is handed on.
 * Sizes and strides must be non-negative integers and lie inside the storage.
 */
export async function readStrided(view: StridedView, read: StorageReader, into?: Uint8Array): Promise<Uint8Array> {
  const { shape, elementSize, offset } = view;
  const count = shape.reduce((product, size) => product * size, 1);
  if (count === 0) return new Uint8Array(0);
  if (isRowMajor(view)) return read(offset * elementSize, count * elementSize, into);
  const out = new Uint8Array(count * elementSize);
  const outStrides = shape.map((_, i) => shape.slice(i + 1).reduce((product, size) => product * size, 1));
  await gather(view, outStrides, 0, out, read);
  return out;
}

/** Halves the longest axis until the part's span is small, then reads the span and copies. */
async function gather(
  view: StridedView,
  outStrides: readonly number[],
  outOffset: number,
  out: Uint8Array,
  read: StorageReader,
): Promise<void> {
  const { shape, strides, offset, elementSize } = view;
  const span = viewSpan(view);
  if (span * elementSize > PIECE_BYTES) {
    const reach = shape.map((size, i) => (size - 1) * strides[i]!);
    const axis = reach.indexOf(Math.max(...reach));
    const half = Math.ceil(shape[axis]! / 2);
    const first = { ...view, shape: shape.with(axis, half) };
    const rest = {
      ...view,
      shape: shape.with(axis, shape[axis]! - half),
      offset: offset + half * strides[axis]!,
    };
    await gather(first, outStrides, outOffset, out, read);
    await gather(rest, outStrides, outOffset + half * outStrides[axis]!, out, read);
    return;
  }
  copyElements(view, await read(offset * elementSize, span * elementSize), outStrides, outOffset, out);
}

function words(bytes: Uint8Array, size: number): Uint8Array | Uint16Array | Uint32Array | BigUint64Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  if (size === 8) return new BigUint64Array(buffer, byteOffset, byteLength / 8);
  if (size === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  if (size === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return bytes;
}

function copyElements(
  { shape, strides, elementSize }: StridedView,
  source: Uint8Array,
  outStrides: readonly number[],
  outOffset: number,
  out: Uint8Array,
): void {
  const from = words(source, elementSize);
  const to = words(out, elementSize);
  const last = shape.length - 1;
  const inner = shape[last]!;
  const innerStride = strides[last]!;
  const innerOut = outStrides[last]!;
  const index = shape.map(() => 0);
  let at = 0;
  let target = outOffset;
  for (;;) {
    for (let i = 0; i < inner; i++) to[target + i * innerOut] = from[at + i * innerStride]!;
    let axis = last - 1;
    for (; axis >= 0; axis--) {
      at += strides[axis]!;
      target += outStrides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      at -= strides[axis]! * shape[axis]!;
      target -= outStrides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}
