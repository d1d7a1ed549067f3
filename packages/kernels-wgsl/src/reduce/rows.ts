/** How kernels that fold rows share a row among threads: a thread, a subgroup or a workgroup to a row; the same text serves all three. */
import { mathFor } from "../elementwise/math.ts";
import { type Access, type Defines, defineKernel, type Kernel, type ParamType } from "../kernel.ts";

/** `thread`: 64 rows to a workgroup, no barrier; `subgroup`: a workgroup is one subgroup; `tree`: 64 threads and workgroup memory, for few long rows. */
export type RowLanes = "thread" | "subgroup" | "tree";

export interface RowLayout {
  readonly type: "f32" | "f16";
  readonly lanes: RowLanes;
  /** Threads of a workgroup: the subgroup size for `subgroup`, else 64. */
  readonly size: number;
  /** Elements are loaded four at a time; columns, offsets and strides are then counted in vec4s. */
  readonly vec4: boolean;
}

const ACROSS = {
  scalar: "fn across(v: X) -> f32 {\n  return v;\n}\nfn highest(v: X) -> f32 {\n  return v;\n}",
  vec4: "fn across(v: X) -> f32 {\n  return (v.x + v.y) + (v.z + v.w);\n}\nfn highest(v: X) -> f32 {\n  return max(max(v.x, v.y), max(v.z, v.w));\n}",
};

function fold(name: string, body: string): string {
  return `fn ${name}(v: f32, lane: u32) -> f32 {\n${body}\n}`;
}

function tree(name: string, step: string): string {
  const body = `  workgroupBarrier();
  tree[lane] = v;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half = half / 2u) {
    if (lane < half) {
      tree[lane] = ${step};
    }
    workgroupBarrier();
  }
  return tree[0];`;
  return fold(name, body);
}

/** The fold of one value per lane over the lanes of a row. */
const LANE_FOLDS: Record<RowLanes, string> = {
  thread: `${fold("lanes_sum", "  return v;")}\n${fold("lanes_max", "  return v;")}`,
  subgroup: `${fold("lanes_sum", "  return subgroupAdd(v);")}\n${fold("lanes_max", "  return subgroupMax(v);")}`,
  tree: `var<workgroup> tree: array<f32, 64>;\n${tree("lanes_sum", "tree[lane] + tree[lane + half]")}\n${tree("lanes_max", "max(tree[lane], tree[lane + half])")}`,
};

const ROW_FOLDS = `fn row_sum(v: X, lane: u32) -> f32 {
  return lanes_sum(across(v), lane);
}
fn row_max(v: X, lane: u32) -> f32 {
  return lanes_max(highest(v), lane);
}`;

/**
 * Defines of a row kernel. Its text gets the types `S` (an element as stored) and `X` (as computed: f32 or vec4<f32>), the constants `LANES` (threads
 * to a row), `ROWS` (rows that a workgroup takes at once) and `WIDTH` (columns in an `X`), `row_of` and `lane_of` (from workgroup number and local index),
 * and `row_sum`, `row_max` (of an `X` per lane), `lanes_sum`, `lanes_max` (of an f32 per lane), which give every lane the fold of all. `expression` names further functions wanted from the elementwise family.
 */
export function rowDefines({ type, lanes, size, vec4 }: RowLayout, expression = ""): Defines {
  const single = lanes === "thread";
  const math = [
    `alias S = ${vec4 ? `vec4<${type}>` : type};`,
    `alias X = ${vec4 ? "vec4<f32>" : "f32"};`,
    `const LANES = ${single ? 1 : size}u;`,
    `const ROWS = ${single ? size : 1}u;`,
    `const WIDTH = ${vec4 ? 4 : 1}u;`,
    `fn row_of(group: u32, lid: u32) -> u32 {\n  return ${single ? "group * ROWS + lid" : "group"};\n}`,
    `fn lane_of(lid: u32) -> u32 {\n  return ${single ? "0u" : "lid"};\n}`,
    ACROSS[vec4 ? "vec4" : "scalar"],
    LANE_FOLDS[lanes],
    ROW_FOLDS,
    mathFor(expression),
  ];
  return { T: type, LANES: lanes, WG: size, VEC: vec4, MATH: math.join("\n") };
}

/** The layouts that tests reflect and race-check, without and with subgroups. */
const PORTABLE: readonly RowLayout[] = [
  { type: "f32", lanes: "thread", size: 64, vec4: false },
  { type: "f32", lanes: "thread", size: 64, vec4: true },
  { type: "f32", lanes: "tree", size: 64, vec4: false },
  { type: "f32", lanes: "tree", size: 64, vec4: true },
];
const SUBGROUP: readonly RowLayout[] = [
  { type: "f32", lanes: "subgroup", size: 8, vec4: false },
  { type: "f32", lanes: "subgroup", size: 8, vec4: true },
];

/** One row kernel as two: the portable one (lanes `thread` and `tree`) and the one that needs subgroups. */
export function rowKernels(
  name: string,
  source: string,
  declaration: {
    readonly buffers: readonly (readonly [name: string, access: Access])[];
    readonly params: Readonly<Record<string, ParamType>>;
    readonly variants: (layout: RowLayout) => readonly Defines[];
  },
): readonly [portable: Kernel, subgroup: Kernel] {
  const { buffers, params, variants } = declaration;
  return [
    defineKernel({ name, source, buffers, params, workgroup: ["WG", 1, 1], variants: PORTABLE.flatMap(variants) }),
    defineKernel({
      name: `${name}_subgroup`,
      source,
      enables: ["subgroups"],
      buffers,
      params,
      workgroup: ["WG", 1, 1],
      variants: SUBGROUP.flatMap(variants),
    }),
  ];
}
