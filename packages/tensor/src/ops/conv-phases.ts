/** dX of a strided convolution on devices with subgroups: for each phase of the stride a convolution of dY with the window positions that reach it. */
import { convPhaseSubgroup, convPhaseSubgroupGrid, convSubgroupDefines, phasesOf } from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import { BYTES } from "../dtype.ts";
import type { Tensor } from "../tensor.ts";
import type { ConvGeometry } from "./conv.ts";
import { bindable, groupsOf, packImages, packWeight, slices } from "./conv-layout.ts";
import { usable } from "./conv-subgroup.ts";

/** Channels on both sides from which a strided dX is made phase by phase: with fewer, as the shipped models have, all windows' products and a gather keep their bits. */
const PHASE_CHANNELS = 64;

/** Whether {@link phasedInputGrad} is the standard way. */
export const prefersPhases = (device: Device, { cin, cout }: ConvGeometry): boolean =>
  usable(device) && Math.min(cin, cout) >= PHASE_CHANNELS;

/** How dY is laid out along an axis for all phases: zeros before it, lines with them, and the pixels of the largest phase. */
function layoutAlong({ kernel, stride, padding }: ConvGeometry, size: number, axis: 0 | 1) {
  const phases = phasesOf({ size, window: kernel[axis], stride: stride[axis], pad: padding[axis] });
  const pad = Math.max(0, ...phases.map(({ taps, shift }) => taps - 1 - shift));
  const lines = pad + Math.max(...phases.map((phase) => phase.shift + phase.size));
  return { pad, lines, pixels: phases[0]!.size };
}

/** out = dX for any stride: a convolution of dY for each phase of the pixels; false where this rung does not apply. Operands are contiguous. */
export function phasedInputGrad(
  g: ConvGeometry,
  { gradient, weight }: { gradient: Tensor; weight: Tensor },
  out: Tensor,
): boolean {
  const { device } = gradient;
  if (!usable(device)) return false;
  const down = layoutAlong(g, g.height, 0);
  const across = layoutAlong(g, g.width, 1);
  const groups = groupsOf(g.cout);
  const layout = { height: down.lines, width: across.lines, pad: [down.pad, across.pad] as const };
  const bytes = layout.height * layout.width * 4 * groups * BYTES[gradient.dtype];
  if (!bindable(device, bytes)) return false;
  const w = packWeight(weight, { turned: true });
  const rows = g.cin <= 4 ? 4 : 16;
  const tiles = Math.ceil(g.cin / rows);
  const subgroup = device.capabilities.subgroupSize;
  for (const part of slices(device, g.batch, bytes)) {
    const images = packImages(gradient, layout, part);
    const params = {
      m: g.cin,
      tiles,
      batch: part.count,
      height: g.height,
      width: g.width,
      kHeight: g.kernel[0],
      kWidth: g.kernel[1],
      strideY: g.stride[0],
      strideX: g.stride[1],
      padY: g.padding[0],
      padX: g.padding[1],
      lines: layout.height,
      pixels: layout.width,
      padTop: down.pad,
      padLeft: across.pad,
      groups,
      offsetC: part.first * g.cin * g.height * g.width,
    };
    const n = part.count * down.pixels * across.pixels;
    device.run(
      convPhaseSubgroup,
      convSubgroupDefines(gradient.dtype as "f32" | "f16", subgroup, rows),
      [w.storage, images.storage, out.storage],
      params,
      convPhaseSubgroupGrid(tiles, g.stride[0] * g.stride[1], n, subgroup),
    );
    images.dispose();
  }
  w.dispose();
  return true;
}
