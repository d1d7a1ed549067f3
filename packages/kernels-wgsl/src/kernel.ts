/** What a kernel is: WGSL text with declared buffers and parameters, and how the text becomes a module for one element type and set of flags. */

/** Access of a storage buffer as WGSL spells it. */
export type Access = "read" | "read_write";

/** Parameter types; `vec4u`/`vec4f` are aligned to 16 bytes, the others to 4. */
export type ParamType = "u32" | "i32" | "f32" | "vec4u" | "vec4f";

/** A value for each `$NAME` in a kernel's text; `true` switches `//#if NAME` on. A missing or false name is off. */
export type Defines = Readonly<Record<string, string | number | boolean>>;

/** Makes defines once for each key and freezes them: a device finds the pipeline of the same object without reading it. */
export function internDefines(): (key: string, make: () => Defines) => Defines {
  const made = new Map<string, Defines>();
  return (key, make) => {
    let defines = made.get(key);
    if (!defines) made.set(key, (defines = Object.freeze(make())));
    return defines;
  };
}

/**
 * One kernel. Its file binds the storage buffers in declared order as `@group(0) @binding(0…)` and then `var<uniform> p: Params`
 * at the next binding; `struct Params` itself is written by {@link paramsStruct}, so that bytes and struct cannot disagree.
 */
export interface Kernel {
  readonly name: string;
  readonly source: string;
  /** Storage buffers in binding order. A name can end in `?FLAG`: then the binding exists only when that define is on. */
  readonly buffers: readonly (readonly [name: string, access: Access])[];
  readonly params: Readonly<Record<string, ParamType>>;
  /** Workgroup size by axis; a name is the define that holds the size. */
  readonly workgroup: readonly [number | string, number, number];
  /** WGSL extensions that the text needs. */
  readonly enables?: readonly ("subgroups" | "f16")[];
  /** Define sets that tests reflect, race-check and snapshot; at least one. */
  readonly variants: readonly Defines[];
}

/** Identity that gives a kernel its type; the checks against the text are `test/reflect.test.ts`. */
export function defineKernel<const K extends Kernel>(kernel: K): K {
  return kernel;
}

const SIZE: Record<ParamType, number> = { u32: 4, i32: 4, f32: 4, vec4u: 16, vec4f: 16 };
const WGSL_TYPE: Record<ParamType, string> = {
  u32: "u32",
  i32: "i32",
  f32: "f32",
  vec4u: "vec4<u32>",
  vec4f: "vec4<f32>",
};

/** Where a kernel's parameters lie in its uniform block. */
export interface ParamsLayout {
  /** Byte offset of each parameter. */
  readonly offsets: ReadonlyMap<string, number>;
  /** Bytes of the struct. */
  readonly size: number;
  /** The parameters in order. */
  readonly fields: readonly { readonly name: string; readonly type: ParamType; readonly at: number }[];
}

/** Byte offset of each parameter and the struct's size, by WGSL's layout rules for scalars and vec4. */
export function paramsLayout(params: Readonly<Record<string, ParamType>>): ParamsLayout {
  const offsets = new Map<string, number>();
  let at = 0;
  let align = 4;
  for (const [name, type] of Object.entries(params)) {
    const size = SIZE[type];
    at = Math.ceil(at / size) * size;
    offsets.set(name, at);
    at += size;
    align = Math.max(align, size);
  }
  const fields = Object.entries(params).map(([name, type]) => ({ name, type, at: offsets.get(name)! }));
  return { offsets, size: Math.max(Math.ceil(at / align) * align, 16), fields };
}

/** The WGSL struct of a kernel's parameters. */
export function paramsStruct(params: Readonly<Record<string, ParamType>>): string {
  const fields = Object.entries(params).map(([name, type]) => `  ${name}: ${WGSL_TYPE[type]},`);
  return `struct Params {\n${fields.length ? fields.join("\n") : "  unused: u32,"}\n}\n`;
}

/** Values for a kernel's parameters: numbers, or four of them for `vec4u` and `vec4f`. */
export type ParamValues = Readonly<Record<string, number | readonly number[]>>;

/** Writes parameters into `view` at `base` bytes. Throws `RangeError` when a declared parameter has no value. */
export function packParams(
  kernel: Kernel,
  layout: ParamsLayout,
  values: ParamValues,
  view: DataView,
  base: number,
): void {
  for (const { name, type, at: offset } of layout.fields) {
    const value = values[name];
    const at = base + offset;
    if (value === undefined) throw new RangeError(`kernel ${kernel.name}: parameter ${name} has no value`);
    if (type === "vec4u" || type === "vec4f") {
      const four = value as readonly number[];
      for (let i = 0; i < 4; i++) {
        if (type === "vec4u") view.setUint32(at + 4 * i, four[i] ?? 0, true);
        else view.setFloat32(at + 4 * i, four[i] ?? 0, true);
      }
    } else if (type === "f32") view.setFloat32(at, value as number, true);
    else if (type === "i32") view.setInt32(at, value as number, true);
    else view.setUint32(at, value as number, true);
  }
}

/**
 * The buffers that a variant binds, in binding order.
 * A buffer named `bias?BIAS` is bound only where `BIAS` is on; its file writes the later bindings with the running number.
 */
export function boundBuffers(kernel: Kernel, defines: Defines): (readonly [name: string, access: Access])[] {
  const bound: (readonly [string, Access])[] = [];
  for (const [name, access] of kernel.buffers) {
    const [plain, flag] = name.split("?") as [string, string?];
    if (flag === undefined || defines[flag]) bound.push([plain, access]);
  }
  return bound;
}

/**
 * Expands the text for one set of defines. Lines `//#if NAME`, `//#if !NAME`, `//#else`, `//#endif` choose blocks; `//#repeat i N` …
 * `//#end` writes a block N times with `$i` = 0…N−1 (N is a number or a define; blocks nest); `$NAME` and `${a + b}` (integer arithmetic
 * on names) are replaced once; `@binding($next)` counts bindings up so that optional buffers leave no gap. Throws `SyntaxError` with the line
 * of an unclosed, stray or malformed directive, an unreadable expression or a name without a value.
 */
export function expand(kernel: Kernel, defines: Defines): string {
  const lines = kernel.source.split("\n");
  const body = expandLines(kernel.name, lines, 0, lines.length, defines).join("\n");
  let binding = 0;
  const numbered = body.replace(/@binding\(\$next\)/g, () => `@binding(${binding++})`);
  const enables = new Set<string>(kernel.enables);
  if (Object.values(defines).includes("f16")) enables.add("f16");
  return [...enables].map((e) => `enable ${e};\n`).join("") + paramsStruct(kernel.params) + numbered;
}

function expandLines(name: string, lines: readonly string[], from: number, to: number, vars: Defines): string[] {
  const out: string[] = [];
  for (let i = from; i < to; i++) {
    const line = lines[i]!;
    const where = `${name}: line ${i + 1}`;
    const word = directiveOf(line);
    if (word === undefined) {
      out.push(substitute(where, line, vars));
      continue;
    }
    const [, flag, variable, count] = /^\s*\/\/#(?:if\s+(!?\w+)|repeat\s+(\w+)\s+(\S+))\s*$/.exec(line) ?? [];
    if (flag === undefined && variable === undefined) {
      throw new SyntaxError(`${where}: ${word === "if" || word === "repeat" ? "malformed" : "stray"} ${line.trim()}`);
    }
    const { end, alternative } = blockEnd(name, lines, i, to);
    if (flag !== undefined) {
      const wanted = flag.startsWith("!") ? !vars[flag.slice(1)] : Boolean(vars[flag]);
      if (wanted) out.push(...expandLines(name, lines, i + 1, alternative ?? end, vars));
      else if (alternative !== undefined) out.push(...expandLines(name, lines, alternative + 1, end, vars));
    } else {
      const n = integer(where, count!, vars);
      for (let k = 0; k < n; k++) out.push(...expandLines(name, lines, i + 1, end, { ...vars, [variable!]: k }));
    }
    i = end;
  }
  return out;
}

/** The word of a directive line (`if`, `end`, …), undefined for text. */
function directiveOf(line: string): string | undefined {
  return /^\s*\/\/#(\w*)/.exec(line)?.[1];
}

/** Where the block that opens at `start` ends, and its `//#else` if it has one. */
function blockEnd(
  name: string,
  lines: readonly string[],
  start: number,
  to: number,
): { end: number; alternative?: number } {
  const open: string[] = [];
  let alternative: number | undefined;
  for (let i = start; i < to; i++) {
    const word = directiveOf(lines[i]!);
    if (word === "if" || word === "repeat") open.push(word);
    else if (word === "else" && open.length === 1) {
      if (open[0] !== "if" || alternative !== undefined) throw stray(name, lines, i);
      alternative = i;
    } else if (word === "endif" || word === "end") {
      if (open.pop() !== (word === "endif" ? "if" : "repeat")) throw stray(name, lines, i);
      if (open.length === 0) return alternative === undefined ? { end: i } : { end: i, alternative };
    }
  }
  throw new SyntaxError(`${name}: line ${start + 1}: ${lines[start]!.trim()} is never closed`);
}

function stray(name: string, lines: readonly string[], at: number): SyntaxError {
  return new SyntaxError(`${name}: line ${at + 1}: stray ${lines[at]!.trim()}`);
}

function substitute(where: string, line: string, vars: Defines): string {
  return line.replace(/\$\{([^}]*)\}|\$([A-Za-z]\w*)/g, (whole, expression: string | undefined, word: string) => {
    if (expression !== undefined) return String(integer(where, expression, vars));
    if (word === "next") return whole;
    const value = vars[word];
    if (value === undefined) throw new SyntaxError(`${where}: $${word} has no value`);
    return String(value);
  });
}

/** Integer arithmetic with + - * / % and brackets over numbers and names, by recursive descent: kernels never reach `eval`. */
function integer(where: string, text: string, vars: Defines): number {
  const tokens = text.match(/\d+|[A-Za-z]\w*|[^\s]/g) ?? [];
  let at = 0;
  const fail = (): never => {
    throw new SyntaxError(`${where}: cannot read the expression "${text}"`);
  };
  const whole = (value: number): number => (Number.isInteger(value) ? value : fail());
  const atom = (): number => {
    const token = tokens[at++] ?? fail();
    if (token === "(") {
      const value = sum();
      if (tokens[at++] !== ")") fail();
      return value;
    }
    return whole(/^\d/.test(token) ? Number(token) : Number(vars[token] ?? fail()));
  };
  const product = (): number => {
    let value = atom();
    while (tokens[at] === "*" || tokens[at] === "/" || tokens[at] === "%") {
      const operator = tokens[at++];
      const right = atom();
      value = whole(operator === "*" ? value * right : operator === "/" ? Math.trunc(value / right) : value % right);
    }
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (tokens[at] === "+" || tokens[at] === "-")
      value = tokens[at++] === "+" ? value + product() : value - product();
    return value;
  };
  const result = sum();
  return at === tokens.length ? result : fail();
}

/** The largest count per dimension that every adapter allows. */
const MAX_GROUPS = 65535;

/** A grid for `count` items, `per` of them to a workgroup, folded to two dimensions: kernels number groups as `wid.y * num.x + wid.x`. */
export function linearGrid(count: number, per: number): [number, number, number] {
  const groups = Math.max(1, Math.ceil(count / per));
  if (groups <= MAX_GROUPS) return [groups, 1, 1];
  const y = Math.ceil(groups / MAX_GROUPS);
  return [Math.ceil(groups / y), y, 1];
}
