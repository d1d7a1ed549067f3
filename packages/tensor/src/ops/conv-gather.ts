/** dX of a strided convolution on any device: all windows' products first, then each pixel gathers those that covered it. */
import { convGather, convPixelGrid } from "@refl/kernels-wgsl";
import { BYTES } from "../dtype.ts";
import { Tensor } from "../tensor.ts";
import type { ConvGeometry } from "./conv.ts";
import { groupsOf, packImages, packWeight, type Slice, slices } from "./conv-layout.ts";
import { gemm } from "./gemm.ts";

/** out = dX. Operands are contiguous. Throws {@link LimitError} when four channels' products of one image exceed what the device binds. */
export function gatheredInputGrad(
  g: ConvGeometry,
  { gradient, weight }: { gradient: Tensor; weight: Tensor },
  out: Tensor,
): void {
  const [kh, kw] = g.kernel;
  const pixels = g.out[0] * g.out[1] * BYTES[gradient.dtype];
  const k = 4 * groupsOf(g.cout);
  for (const channels of slices(gradient.device, groupsOf(g.cin), pixels * kh * kw * 4)) {
    const columns = kh * kw * 4 * channels.count;
    const w = packWeight(weight, { most: k, part: channels });
    for (const images of slices(gradient.device, g.batch, pixels * Math.max(columns, k)))
      gatherPart(g, gradient, w, images, channels, out);
    w.dispose();
  }
}

/** The pixels of some images in some channel groups of dX. */
function gatherPart(g: ConvGeometry, gradient: Tensor, w: Tensor, images: Slice, channels: Slice, out: Tensor): void {
  const [kh, kw] = g.kernel;
  const [oh, ow] = g.out;
  const device = gradient.device;
  const columns = kh * kw * 4 * channels.count;
  // dY channels-last is the matrix [pixels, Cout] by rows, which the product reads faster than its transposed.
  const d = packImages(gradient, { height: oh, width: ow, pad: [0, 0] }, images);
  const k = d.shape[3]!;
  const products = Tensor.empty(device, [images.count, oh, ow, columns], gradient.dtype);
  gemm(device, {
    m: images.count * oh * ow,
    n: columns,
    k,
    dtype: gradient.dtype as "f32" | "f16",
    a: { storage: d.storage, offset: 0, row: k, col: 1, batch: 0 },
    b: { storage: w.storage, offset: 0, row: columns, col: 1, batch: 0 },
    c: { storage: products.storage },
  });
  d.dispose();
  const count = images.count * g.height * g.width;
  const params = {
    pixels: count,
    height: g.height,
    width: g.width,
    outHeight: oh,
    outWidth: ow,
    kHeight: kh,
    kWidth: kw,
    strideY: g.stride[0],
    strideX: g.stride[1],
    padY: g.padding[0],
    padX: g.padding[1],
    channels: g.cin,
    firstGroup: channels.first,
    groups: channels.count,
    offset: images.first * g.cin * g.height * g.width,
  };
  const grid = convPixelGrid(count, channels.count);
  device.run(convGather, { T: gradient.dtype }, [products.storage, out.storage], params, grid);
  products.dispose();
}
