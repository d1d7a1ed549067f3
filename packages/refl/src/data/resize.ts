/** Own pictures brought to a model's size: the middle square, averaged over areas. */
import { ShapeError } from "@refl/tensor";
import type { RgbImage } from "../io/grid.ts";

/** For each output place, the input places it covers and their shares (which add up to 1). */
function coverages(from: number, start: number, to: number): { first: number; shares: number[] }[] {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const low = i * scale;
    const high = (i + 1) * scale;
    const first = Math.floor(low);
    const last = Math.min(from, Math.ceil(high));
    const shares: number[] = [];
    for (let k = first; k < last; k++) shares.push((Math.min(high, k + 1) - Math.max(low, k)) / scale);
    return { first: start + first, shares };
  });
}

/** The picture's middle square as size x size x 3 bytes (HWC). Every output pixel is the mean of the area it covers. */
export function fitSquare(image: RgbImage, size: number): Uint8Array {
  const { width, height, rgb } = image;
  if (rgb.length !== width * height * 3 || rgb.length === 0 || size < 1) {
    throw new ShapeError("fitSquare", [[height, width, 3], [rgb.length], [size]], "needs height x width x 3 bytes");
  }
  const edge = Math.min(width, height);
  const columns = coverages(edge, (width - edge) >> 1, size);
  const rows = coverages(edge, (height - edge) >> 1, size);
  const out = new Uint8Array(size * size * 3);
  let o = 0;
  for (const row of rows) {
    for (const column of columns) {
      let r = 0;
      let g = 0;
      let b = 0;
      for (const [dy, rowShare] of row.shares.entries()) {
        for (const [dx, columnShare] of column.shares.entries()) {
          const i = ((row.first + dy) * width + column.first + dx) * 3;
          const share = rowShare * columnShare;
          r += share * rgb[i]!;
          g += share * rgb[i + 1]!;
          b += share * rgb[i + 2]!;
        }
      }
      out[o++] = Math.round(r);
      out[o++] = Math.round(g);
      out[o++] = Math.round(b);
    }
  }
  return out;
}
