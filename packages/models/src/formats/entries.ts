/** Tensor entries of a file as typed arrays, and typed arrays as entries. */
import { bf16ToF32, DTypeError, f16ToF32, f32ToBf16, f32ToF16, ShapeError } from "@refl/tensor";
import { dtypeSize, type TensorEntry } from "./safetensors.ts";

/** Copies when the bytes are not aligned for `size`-byte elements, since typed arrays need alignment. */
function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice();
}

/**
 * The values of a floating-point entry as float32: F32 as it is (sharing memory where alignment allows), F16 and BF16 widened
 * exactly, F64 rounded.
 * @param into where widened values may be put if they fit, to spare the memory of a new array; the result is then a view of its beginning
 * @throws DTypeError for integer and boolean entries.
 */
export function entryToFloat32(entry: TensorEntry, into?: Float32Array): Float32Array {
  const size = dtypeSize(entry.dtype);
  const { buffer, byteOffset, byteLength } = aligned(entry.bytes, size);
  const length = byteLength / size;
  const room = into && into.length >= length ? into.subarray(0, length) : undefined;
  switch (entry.dtype) {
    case "F32":
      return new Float32Array(buffer, byteOffset, length);
    case "F16":
      return f16ToF32(new Uint16Array(buffer, byteOffset, length), room);
    case "BF16":
      return bf16ToF32(new Uint16Array(buffer, byteOffset, length), room);
    case "F64":
      return Float32Array.from(new Float64Array(buffer, byteOffset, length));
    default:
      throw new DTypeError(
        `entryToFloat32 ${entry.name}`,
        [entry.dtype],
        "F32, F16, BF16 and F64 can be read as float32",
      );
  }
}

/** The bytes of float32 values as F32 (sharing memory) or rounded to F16 or BF16. */
export function float32Bytes(values: Float32Array, dtype: "F32" | "F16" | "BF16"): Uint8Array {
  const stored = dtype === "F32" ? values : dtype === "F16" ? f32ToF16(values) : f32ToBf16(values);
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}

/**
 * An entry that stores float32 values as F32 (sharing memory) or rounded to F16 or BF16.
 * @throws ShapeError when the shape's element count is not the number of values.
 */
export function float32Entry(
  name: string,
  shape: readonly number[],
  values: Float32Array,
  dtype: "F32" | "F16" | "BF16" = "F32",
): TensorEntry {
  const count = shape.reduce((product, size) => product * size, 1);
  if (count !== values.length)
    throw new ShapeError(`float32Entry ${name}`, [shape], `has ${count} elements, ${values.length} values came`);
  return { name, dtype, shape: [...shape], bytes: float32Bytes(values, dtype) };
}
