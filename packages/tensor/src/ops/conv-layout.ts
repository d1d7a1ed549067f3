/** How convolutions lay images and weights out: channels last, padded, in vec4s of channels, and in slices of the batch. */
import { convPack, convPackWeight, convPixelGrid, linearGrid } from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import { Tensor } from "../tensor.ts";
import type { Pair } from "./conv.ts";

/** Most bytes of one laid-out operand; larger batches are worked off in slices. */
const MOST_BYTES = 64 * 2 ** 20;

/** {@link MOST_BYTES}, or what the device binds where that is less. */
export const mostBytes = (device: Device): number => Math.min(MOST_BYTES, device.largestBinding);

/** Channels as vec4s, the last one filled up with zeros. */
export const groupsOf = (channels: number): number => Math.ceil(channels / 4);

/** A run of images, or of channel groups. */
export interface Slice {
  readonly first: number;
  readonly count: number;
}

/** Even slices of `count` items of `bytes` each, within {@link mostBytes} where a single item is. */
export function slices(device: Device, count: number, bytes: number): Slice[] {
  const most = Math.max(1, Math.floor(mostBytes(device) / bytes));
  const each = Math.ceil(count / Math.ceil(count / most));
  return Array.from({ length: Math.ceil(count / each) }, (_, i) => ({
    first: i * each,
    count: Math.min(each, count - i * each),
  }));
}

/** Whether a device can bind `bytes` at once. */
export const bindable = (device: Device, bytes: number): boolean => bytes <= device.largestBinding;

/** Images in the order that the products read: [count, height, width, 4 · groups], the source at (padY, padX); negative padding crops. */
export interface Layout {
  readonly height: number;
  readonly width: number;
  readonly pad: Pair;
}

/** Lays one slice of contiguous x [B, C, H, W] out. */
export function packImages(x: Tensor, layout: Layout, slice: Slice): Tensor {
  const [, channels, height, width] = x.shape as [number, number, number, number];
  const groups = groupsOf(channels);
  const packed = Tensor.empty(x.device, [slice.count, layout.height, layout.width, 4 * groups], x.dtype);
  const pixels = slice.count * layout.height * layout.width;
  const params = {
    pixels,
    height,
    width,
    paddedHeight: layout.height,
    paddedWidth: layout.width,
    padY: layout.pad[0],
    padX: layout.pad[1],
    channels,
    groups,
    offset: x.offset + slice.first * channels * height * width,
  };
  x.device.run(convPack, { T: x.dtype }, [x.storage, packed.storage], params, convPixelGrid(pixels, groups));
  return packed;
}

interface WeightLayout {
  /** Rows are input channels and the window is turned round; else rows are output channels. */
  readonly turned?: boolean;
  /** Rows of zeros fill up to this number. */
  readonly most?: number;
  /** Only these groups of input channels, where rows are output channels. */
  readonly part?: Slice;
}

/** Contiguous weights [Cout, Cin, kh, kw] as [rows, kh · kw, 4 · groups]. */
export function packWeight(weight: Tensor, { turned = false, most = 0, part }: WeightLayout = {}): Tensor {
  const [cout, cin, kh, kw] = weight.shape as [number, number, number, number];
  const window = kh * kw;
  const first = part ? 4 * part.first : 0;
  const rows = turned ? cin : cout;
  const channels = turned ? cout : part ? Math.min(4 * part.count, cin - first) : cin;
  const groups = groupsOf(channels);
  // A window of one pixel lies in this order already.
  if (window === 1 && !turned && !part && channels % 4 === 0 && most <= rows && weight.offset === 0) return weight;
  const packed = Tensor.empty(weight.device, [Math.max(rows, most), window, 4 * groups], weight.dtype);
  if (most > rows) packed.fill_(0);
  const [rowStep, channelStep] = turned ? [window, cin * window] : [cin * window, window];
  const params = {
    rows,
    channels,
    groups,
    window,
    rowStep,
    channelStep,
    offset: weight.offset + first * window,
    start: turned ? window - 1 : 0,
    turn: turned ? 2 ** 32 - 1 : 1,
  };
  weight.device.run(
    convPackWeight,
    { T: weight.dtype },
    [weight.storage, packed.storage],
    params,
    linearGrid(rows * groups, 64),
  );
  return packed;
}
