/** How an op's rows are laid over a device: which lanes fold a row, and the grid. */
import type { Kernel, RowLanes, RowLayout } from "@refl/kernels-wgsl";
import { linearGrid } from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import { choose } from "../tune/chooser.ts";

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
  return planOf(device, type, rows, columns, lanes, vec4);
}

function planOf(
  device: Device,
  type: "f32" | "f16",
  rows: number,
  columns: number,
  lanes: RowLanes,
  vec4: boolean,
): RowPlan {
  const { software } = device.adapter;
  const size = lanes === "subgroup" ? device.capabilities.subgroupSize : 64;
  const layout: RowLayout = { type, lanes, size, vec4 };
  const width = vec4 ? 4 : 1;
  if (lanes === "thread") return { layout, grid: linearGrid(rows, 64), width };
  // A workgroup costs as much as 2,000 elements on a software adapter: give it several short rows.
  const groups = Math.min(rows, Math.max(software ? 32 : 4096, Math.ceil((rows * columns) / 2048)));
  return { layout, grid: linearGrid(groups, 1), width };
}

/** Rows to be worked on by one of several kernels. */
export interface RowWork {
  /** As choosers know it. */
  readonly op: string;
  readonly type: "f32" | "f16";
  readonly rows: number;
  readonly columns: number;
  /** As {@link rowPlan} takes them. */
  readonly inner?: number;
  readonly stretch?: number;
  /** What runs; the subgroup form has the same text. */
  readonly kernels: readonly Kernel[];
}

/** Calls `run` with {@link rowPlan}'s plan, or with the one that the device's chooser prefers. */
export function overRows(device: Device, work: RowWork, run: (plan: RowPlan) => void): void {
  const { op, type, rows, columns, inner = 1, stretch = columns, kernels } = work;
  const standard = rowPlan(device, type, rows, columns, inner, stretch);
  if (!device.chooser) {
    run(standard);
    return;
  }
  const { lanes, vec4 } = standard.layout;
  const candidates: RowLanes[] = ["thread"];
  if (inner === 1) candidates.push("tree");
  if (inner === 1 && device.capabilities.subgroupSize >= 4) candidates.push("subgroup");
  const take = (name: RowLanes): void => run(planOf(device, type, rows, columns, name, vec4));
  const form = `${type}${vec4 ? " vec4" : ""}${inner === 1 ? "" : " strided"}`;
  take(choose(device.chooser, { op, form, sizes: { rows, columns }, standard: lanes, candidates, kernels, run: take }));
}
