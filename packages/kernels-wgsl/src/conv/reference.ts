/** Float64 references of the conv ops, as `torch.nn.functional.conv2d` with one group and its gradients. */
import { ndarray, type ReferenceTable } from "../testing/cases.ts";

interface Window {
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
}

type Shape4 = readonly [number, number, number, number];

interface Visit {
  readonly x: Shape4;
  readonly weight: Shape4;
  readonly out: Shape4;
}

/** Calls `visit` with the flat positions of x, weight and result of every product that a convolution adds up. */
function eachProduct(
  { x, weight, out }: Visit,
  { stride, padding }: Window,
  visit: (x: number, weight: number, out: number) => void,
): void {
  const [batch, cin, height, width] = x;
  const [cout, , kh, kw] = weight;
  const [, , oh, ow] = out;
  for (let b = 0; b < batch; b++)
    for (let o = 0; o < cout; o++)
      for (let oy = 0; oy < oh; oy++)
        for (let ox = 0; ox < ow; ox++)
          for (let c = 0; c < cin; c++)
            for (let ky = 0; ky < kh; ky++)
              for (let kx = 0; kx < kw; kx++) {
                const iy = oy * stride[0] - padding[0] + ky;
                const ix = ox * stride[1] - padding[1] + kx;
                if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
                visit(
                  ((b * cin + c) * height + iy) * width + ix,
                  ((o * cin + c) * kh + ky) * kw + kx,
                  ((b * cout + o) * oh + oy) * ow + ox,
                );
              }
}

const outSize = (size: number, kernel: number, stride: number, padding: number): number =>
  Math.floor((size + 2 * padding - kernel) / stride) + 1;

export const convReference = {
  conv2d: ([x, weight, bias], attrs: Window) => {
    const [batch, , height, width] = x!.shape as Shape4;
    const [cout, , kh, kw] = weight!.shape as Shape4;
    const shape: Shape4 = [
      batch,
      cout,
      outSize(height, kh, attrs.stride[0], attrs.padding[0]),
      outSize(width, kw, attrs.stride[1], attrs.padding[1]),
    ];
    const out = ndarray(shape);
    const area = shape[2] * shape[3];
    if (bias) for (let i = 0; i < out.data.length; i++) out.data[i] = bias.data[Math.floor(i / area) % cout]!;
    eachProduct({ x: x!.shape as Shape4, weight: weight!.shape as Shape4, out: shape }, attrs, (i, w, o) => {
      out.data[o]! += x!.data[i]! * weight!.data[w]!;
    });
    return out;
  },
  conv2dInputGrad: ([gradient, weight], attrs: Window & { size: readonly [number, number] }) => {
    const shape: Shape4 = [gradient!.shape[0]!, weight!.shape[1]!, ...attrs.size];
    const out = ndarray(shape);
    eachProduct({ x: shape, weight: weight!.shape as Shape4, out: gradient!.shape as Shape4 }, attrs, (i, w, o) => {
      out.data[i]! += gradient!.data[o]! * weight!.data[w]!;
    });
    return out;
  },
  conv2dWeightGrad: ([gradient, x], attrs: Window & { kernel: readonly [number, number] }) => {
    const shape: Shape4 = [gradient!.shape[1]!, x!.shape[1]!, ...attrs.kernel];
    const out = ndarray(shape);
    eachProduct({ x: x!.shape as Shape4, weight: shape, out: gradient!.shape as Shape4 }, attrs, (i, w, o) => {
      out.data[w]! += gradient!.data[o]! * x!.data[i]!;
    });
    return out;
  },
} satisfies ReferenceTable;
