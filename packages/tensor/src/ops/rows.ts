/** How an op's rows are laid over a device: which lanes fold a row, and the grid. */
import type { RowLanes, RowLayout } from "@refl/kernels-wgsl";
import { linearGrid } from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";

export interface RowPlan {
  readonly layout: RowLayout;
  readonly grid: [number, number, number];
  /** Elements in a load: what columns and offsets are divided by. */
  readonly width: 1 | 4;
}

/**
 * A plan for `rows` rows of `columns` neighbouring elements (or elements `inner` apart), in stretches that a vec4 must not cross.
 * Every offset must be a multiple of four.
 * Subgroups take the rows that fill their lanes. Without them a thread takes a row, unless rows are so few and long that a workgroup must share each;
 * software adapters pay dearly for barriers and have few cores to fill.
 */
export function rowPlan(
  device: Device,
  type: "f32" | "f16",
  rows: number,
  columns: number,
  inner = 1,
  stretch = columns,
): RowPlan {
  const vec4 = inner === 1 && stretch % 4 === 0;
  const width = vec4 ? 4 : 1;
  const subgroup = device.capabilities.subgroupSize;
  const { software } = device.adapter;
  let lanes: RowLanes = "thread";
  if (inner === 1 && subgroup >= 4 && columns >= width * subgroup) lanes = "subgroup";
  else if (inner === 1 && (software ? rows <= 16 && columns >= 1024 : rows <= 16384 && columns >= 128)) lanes = "tree";
  const layout: RowLayout = { type, lanes, size: lanes === "subgroup" ? subgroup : 64, vec4 };
  if (lanes === "thread") return { layout, grid: linearGrid(rows, 64), width };
  // A workgroup costs as much as 2,000 elements on a software adapter: give it several short rows.
  const groups = Math.min(rows, Math.max(software ? 32 : 4096, Math.ceil((rows * columns) / 2048)));
  return { layout, grid: linearGrid(groups, 1), width };
}
