/** Pictures in bands of rows, for activations that no single tensor of a device could hold: the layers of an autoencoder on them, exact at the seams. */
import { cat, conv2d, pad, scope, type Tensor, upsampleNearest2x } from "@refl/tensor";
import type { Conv2d } from "../nn/conv.ts";
import type { GroupNorm } from "../nn/norm.ts";

/** The bands of [B, C, H, W] from top to bottom, each [B, C, rows, W]. One band is an ordinary tensor, and costs what one does. */
export type Bands = readonly Tensor[];

/** Part of what a device binds that a band may take: layers need copies with seams and padding, and vec4s of channels. */
export const SHARE = 4;

/**
 * Cuts bands so that `channels` at `scale` times height and width would fit in a quarter of the device's largest binding. Heights stay
 * multiples of `unit`, which must divide the height.
 */
export function fitBands(bands: Bands, channels: number, scale = 1, unit = 1): Bands {
  const [batch, , , width] = bands[0]!.shape as [number, number, number, number];
  const rowBytes = batch * Math.max(4, channels) * scale * scale * width * 4;
  const most = Math.max(1, Math.floor(bands[0]!.device.largestBinding / SHARE / rowBytes / unit)) * unit;
  return bands.flatMap((band) => {
    const rows = band.shape[2]!;
    if (rows <= most) return [band];
    const each = Math.ceil(rows / unit / Math.ceil(rows / most)) * unit;
    return Array.from({ length: Math.ceil(rows / each) }, (_, i) =>
      band.slice(2, i * each, Math.min(rows, (i + 1) * each)),
    );
  });
}

/** One tensor of all bands. */
export function joinBands(bands: Bands): Tensor {
  return bands.length === 1 ? bands[0]! : cat(bands, 2);
}

/** `fn` of each band in a scope of its own: what it makes on the way would together be several times the whole. */
export function mapBands(bands: Bands, fn: (band: Tensor, i: number) => Tensor): Bands {
  return bands.map((band, i) => scope(() => fn(band, i)));
}

/** a + b, cut alike. */
export function addBands(a: Bands, b: Bands): Bands {
  return mapBands(a, (band, i) => band.add(b[i]!));
}

/** `count` rows of a band from `first`. */
const rowsOf = (band: Tensor, first: number, count: number): Tensor => band.slice(2, first, first + count);

/** A convolution with stride 1 and half its kernel as padding; bands keep their heights. */
export function convBands(conv: Conv2d, bands: Bands): Bands {
  if (bands.length === 1) return [conv.forward(bands[0]!)];
  const { padding } = conv;
  return mapBands(bands, (band, i) => {
    const above = bands[i - 1];
    const below = bands[i + 1];
    const parts = [
      ...(above && padding ? [rowsOf(above, above.shape[2]! - padding, padding)] : []),
      band,
      ...(below && padding ? [rowsOf(below, 0, padding)] : []),
    ];
    const seamed = parts.length === 1 ? band : cat(parts, 2);
    const whole = padding ? pad(seamed, [0, 0, above ? 0 : padding, below ? 0 : padding]) : seamed;
    return conv2d(whole, conv.weight.value, conv.bias?.value ?? null, { padding: [0, padding] });
  });
}

/** A 3×3 convolution with stride 2; `before` and `after` zeros stand left and above, right and below. Bands must have even heights. */
export function halveBands(conv: Conv2d, bands: Bands, before: 0 | 1): Bands {
  const after = 1 - before;
  return mapBands(bands, (band, i) => {
    const above = before ? bands[i - 1] : undefined;
    const below = after ? bands[i + 1] : undefined;
    const parts = [
      ...(above ? [rowsOf(above, above.shape[2]! - 1, 1)] : []),
      band,
      ...(below ? [rowsOf(below, 0, 1)] : []),
    ];
    const seamed = parts.length === 1 ? band : cat(parts, 2);
    const whole = pad(seamed, [before, after, before && !above ? 1 : 0, after && !below ? 1 : 0]);
    return conv2d(whole, conv.weight.value, conv.bias?.value ?? null, { stride: 2 });
  });
}

/** Each pixel fourfold. */
export function doubleBands(bands: Bands): Bands {
  return mapBands(bands, (band) => upsampleNearest2x(band));
}

/** Group norm over all bands together, then the activation: sums of all bands give mean and deviation, in two passes as a single tensor's. */
export function normBands(norm: GroupNorm, bands: Bands, activation: "none" | "silu" = "none"): Bands {
  if (bands.length === 1) return [norm.forward(bands[0]!, activation)];
  const { groups, eps } = norm;
  const [batch, channels] = bands[0]!.shape as [number, number];
  const share = channels / groups;
  const count = share * bands.reduce((sum, { shape }) => sum + shape[2]! * shape[3]!, 0);
  const total = (part: (band: Tensor) => Tensor): Tensor =>
    mapBands(bands, (band) => part(band.reshape(batch, groups, -1))).reduce((a, b) => a.add(b));
  const mean = total((band) => band.sum(2, true)).div(count);
  const squares = total((band) => band.sub(mean).square().sum(2, true));
  const scale = squares.div(count).add(eps).rsqrt();
  const perChannel = (x: Tensor): Tensor => x.expand(batch, groups, share).reshape(batch, channels, 1, 1);
  const a = perChannel(scale).mul(norm.weight.value.reshape(1, channels, 1, 1));
  const center = perChannel(mean);
  const shift = norm.bias.value.reshape(1, channels, 1, 1);
  return mapBands(bands, (band) => {
    const y = band.sub(center).mul(a).add(shift);
    return activation === "silu" ? y.silu() : y;
  });
}
