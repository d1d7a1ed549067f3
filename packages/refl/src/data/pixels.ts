/** Pixel layouts: bytes in HWC order, as pictures are stored, and floats in CHW order, as models take them. */
import { ShapeError } from "@refl/tensor";

/** Bytes [pixels, 3] (HWC) to floats 0..1 [3, pixels] (CHW), written into `out` at `offset`. */
export function bytesToPlanes(rgb: Uint8Array, out: Float32Array, offset = 0): void {
  const pixels = rgb.length / 3;
  if (out.length < offset + rgb.length) {
    throw new ShapeError("bytesToPlanes", [[rgb.length], [out.length]], `out needs ${offset + rgb.length} values`);
  }
  for (let i = 0; i < pixels; i++) {
    out[offset + i] = rgb[i * 3]! / 255;
    out[offset + pixels + i] = rgb[i * 3 + 1]! / 255;
    out[offset + 2 * pixels + i] = rgb[i * 3 + 2]! / 255;
  }
}

/** Floats 0..1 [3, pixels] (CHW) from `offset` to bytes [pixels, 3] (HWC): clamped, then rounded to the nearest; NaN becomes 0. */
export function planesToBytes(planes: Float32Array, pixels: number, offset = 0): Uint8Array {
  if (planes.length < offset + pixels * 3) {
    throw new ShapeError("planesToBytes", [[planes.length]], `needs ${offset + pixels * 3} values`);
  }
  const rgb = new Uint8Array(pixels * 3);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < pixels; i++) {
      rgb[i * 3 + c] = Math.round(255 * Math.min(1, Math.max(0, planes[offset + c * pixels + i]!)));
    }
  }
  return rgb;
}

/** Pictures of one size, HWC bytes each, as one batch of floats 0..1 [N, 3, H, W]. */
export function stackPlanes(pictures: readonly Uint8Array[]): Float32Array {
  const each = pictures[0]?.length ?? 0;
  const out = new Float32Array(each * pictures.length);
  for (const [n, rgb] of pictures.entries()) {
    if (rgb.length !== each) {
      throw new ShapeError("stackPlanes", [[each], [rgb.length]], `picture ${n} has another size than picture 0`);
    }
    bytesToPlanes(rgb, out, n * each);
  }
  return out;
}
