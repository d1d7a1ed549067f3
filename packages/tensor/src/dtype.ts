/** Element types: their sizes, their storage in WGSL and the typed arrays that carry them on the host. */
import type { StorageType } from "@refl/kernels-wgsl";

/** f16 is storage: every kernel computes and accumulates in f32. bool is stored as u32 on the device and as 0/1 bytes on the host. */
export type DType = "f32" | "f16" | "i32" | "u32" | "bool";

export interface HostArrays {
  f32: Float32Array;
  f16: Float32Array;
  i32: Int32Array;
  u32: Uint32Array;
  bool: Uint8Array;
}

/** Bytes per element on the device. */
export const BYTES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, i32: 4, u32: 4, bool: 4 };

export const STORAGE: Readonly<Record<DType, StorageType>> = {
  f32: "f32",
  f16: "f16",
  i32: "i32",
  u32: "u32",
  bool: "u32",
};

export function isFloat(dtype: DType): dtype is "f32" | "f16" {
  return dtype === "f32" || dtype === "f16";
}

/** f32 → f16 bits, round to nearest even, overflow to infinity, subnormals kept. */
export function toHalf(value: number): number {
  f32[0] = value;
  const bits = u32[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  if (size >= 0x477ff000) return sign | 0x7c00;
  if (size < 0x38800000) {
    // Below 2^-14: the subnormal's unit is 2^-24, and adding 0.5 in f32 rounds to it with ties to even.
    f32[0] = Math.abs(value) + 0.5;
    return sign | (u32[0]! - 0x3f000000);
  }
  return sign | ((size - 0x38000000 + 0x0fff + ((size >>> 13) & 1)) >>> 13);
}

/** f16 bits → f32, exact. */
export function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + mantissa / 1024) : 2 ** -14 * (mantissa / 1024));
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Host values → the bytes that the device stores. */
export function encode(values: ArrayLike<number>, dtype: DType): ArrayBuffer {
  if (dtype === "f16") return Uint16Array.from(values, toHalf).buffer;
  if (dtype === "f32")
    return (values instanceof Float32Array ? values.slice() : Float32Array.from(values)).buffer as ArrayBuffer;
  if (dtype === "i32") return Int32Array.from(values).buffer;
  return Uint32Array.from(values, dtype === "bool" ? (v) => (v ? 1 : 0) : undefined!).buffer;
}

/** Device bytes → host values; f16 is widened to f32. */
export function decode<D extends DType>(bytes: ArrayBuffer, dtype: D, count: number): HostArrays[D] {
  const make = (): HostArrays[DType] => {
    if (dtype === "f16") return Float32Array.from(new Uint16Array(bytes, 0, count), fromHalf);
    if (dtype === "f32") return new Float32Array(bytes, 0, count);
    if (dtype === "i32") return new Int32Array(bytes, 0, count);
    if (dtype === "u32") return new Uint32Array(bytes, 0, count);
    return Uint8Array.from(new Uint32Array(bytes, 0, count));
  };
  return make() as HostArrays[D];
}
