/** The preprocessor, parameter packing and grids, and a digest of every variant's text that shows which kernels a change touches. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  boundBuffers,
  type Defines,
  defineKernel,
  expand,
  linearGrid,
  type ParamType,
  packParams,
  paramsLayout,
  paramsStruct,
} from "../src/index.ts";
import { variants } from "./kernels.ts";

function kernelOf(source: string, params: Readonly<Record<string, ParamType>> = {}) {
  return defineKernel({ name: "k", source, buffers: [], params, workgroup: [1, 1, 1], variants: [{}] });
}

/** The expanded text below the parameter struct. */
function body(source: string, defines: Defines = {}): string {
  return expand(kernelOf(source), defines).slice(paramsStruct({}).length);
}

describe("expand", () => {
  test("replaces names once and keeps $next for bindings, which count up over what is bound", () => {
    expect(body("let x: $T = $V;", { T: "f32", V: "$T" })).toBe("let x: f32 = $T;");
    const source = "@binding($next) a\n//#if B\n@binding($next) b\n//#endif\n@binding($next) c";
    expect(body(source)).toBe("@binding(0) a\n@binding(1) c");
    expect(body(source, { B: true })).toBe("@binding(0) a\n@binding(1) b\n@binding(2) c");
  });

  test("chooses blocks; a missing, false or zero name is off", () => {
    const source = "//#if X\nyes\n//#else\nno\n//#endif\n//#if !X\nnot\n//#endif";
    expect(body(source, { X: true })).toBe("yes");
    for (const defines of [{}, { X: false }, { X: 0 }] as Defines[]) expect(body(source, defines)).toBe("no\nnot");
  });

  test("nests blocks of both kinds; an inner //#else belongs to the inner block", () => {
    const source = "//#if X\n//#repeat i 2\n//#if Y\n$i y\n//#else\n$i n\n//#endif\n//#end\n//#else\nnone\n//#endif";
    expect(body(source, { X: true, Y: true })).toBe("0 y\n1 y");
    expect(body(source, { X: true })).toBe("0 n\n1 n");
    expect(body(source, { Y: true })).toBe("none");
  });

  test("repeats by a number, a define or an outer counter", () => {
    expect(body("//#repeat i 0\nx\n//#end\ny")).toBe("y");
    expect(body("//#repeat i N\n${N - i - 1}\n//#end", { N: 3 })).toBe("2\n1\n0");
    expect(body("//#repeat i 3\n//#repeat j i\n$i$j\n//#end\n//#end")).toBe("10\n20\n21");
  });

  test("enables what the kernel needs, and f16 where a define stores it", () => {
    const kernel = { ...kernelOf("x"), enables: ["subgroups"] as const };
    expect(expand(kernel, {})).toMatch(/^enable subgroups;\nstruct Params/);
    expect(expand(kernel, { T: "f16" })).toMatch(/^enable subgroups;\nenable f16;\nstruct Params/);
  });

  test.for([
    ["//#if X\nx", "k: line 1: //#if X is never closed"],
    ["a\n//#repeat i 2\n//#if X\n//#endif", "k: line 2: //#repeat i 2 is never closed"],
    ["a\n//#endif", "k: line 2: stray //#endif"],
    ["//#else", "k: line 1: stray //#else"],
    ["//#if X\n//#end", "k: line 2: stray //#end"],
    ["//#repeat i 2\n//#endif", "k: line 2: stray //#endif"],
    ["//#repeat i 2\n//#else\n//#end", "k: line 2: stray //#else"],
    ["//#if !X\na\n//#else\nb\n//#else\nc\n//#endif", "k: line 5: stray //#else"],
    ["//#if X Y\n//#endif", "k: line 1: malformed //#if X Y"],
    ["//#if\n//#endif", "k: line 1: malformed //#if"],
    ["//#repeat i\n//#end", "k: line 1: malformed //#repeat i"],
    ["//#unless X", "k: line 1: stray //#unless X"],
    ["a\nb $X c", "k: line 2: $X has no value"],
    ["${X + 1}", 'k: line 1: cannot read the expression "X + 1"'],
    ["${1 / 0}", 'k: line 1: cannot read the expression "1 / 0"'],
    ["${1 % 0}", 'k: line 1: cannot read the expression "1 % 0"'],
    ["${2 # 3}", 'k: line 1: cannot read the expression "2 # 3"'],
    ["${(1 + 2}", 'k: line 1: cannot read the expression "(1 + 2"'],
    ["${}", 'k: line 1: cannot read the expression ""'],
    ["//#repeat i N\n//#end", 'k: line 1: cannot read the expression "N"'],
  ] as const)("%j fails: %s", ([source, message]) => {
    expect(() => body(source)).toThrow(new SyntaxError(message));
  });

  test("computes what JavaScript computes on integers", () => {
    const { expression } = fc.letrec<{ expression: { text: string; value: number } }>((tie) => ({
      expression: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        fc.nat(50).map((n) => ({ text: String(n), value: n })),
        fc.constantFrom("A", "B").map((name) => ({ text: name, value: name === "A" ? 7 : 16 })),
        fc
          .tuple(tie("expression"), fc.constantFrom("+", "-", "*", "/", "%"), tie("expression"))
          .map(([x, operator, y]) => {
            const value =
              operator === "+"
                ? x.value + y.value
                : operator === "-"
                  ? x.value - y.value
                  : operator === "*"
                    ? x.value * y.value
                    : operator === "/"
                      ? Math.trunc(x.value / y.value)
                      : x.value % y.value;
            // A division by 0 is refused wherever it stands, also where JavaScript would divide 0 by its infinity: NaN passes through all.
            return {
              text: `(${x.text} ${operator} ${y.text})`,
              value: Number.isSafeInteger(value) ? value : Number.NaN,
            };
          }),
      ),
    }));
    fc.assert(
      fc.property(expression, ({ text, value }) => {
        fc.pre(Number.isSafeInteger(value));
        expect(Number(body(`\${${text}}`, { A: 7, B: 16 }))).toBe(value + 0);
      }),
    );
    expect(body("${2 + 3 * 4 - 10 / 4 % 2}")).toBe("14");
  });

  test("any nesting of blocks expands as the tree says", () => {
    type Tree = { source: string; render: (counters: readonly number[]) => string[] };
    const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
      tree: fc.oneof(
        { depthSize: "small" },
        fc.nat(9).map((n): Tree => ({ source: `t${n}`, render: () => [`t${n}`] })),
        fc.tuple(fc.boolean(), fc.boolean(), tie("tree"), tie("tree")).map(
          ([on, negated, x, y]): Tree => ({
            source: `  //#if ${negated ? "!" : ""}${on ? "ON" : "OFF"}\n${x.source}\n//#else\n${y.source}\n  //#endif`,
            render: (counters) => (on !== negated ? x : y).render(counters),
          }),
        ),
        fc.tuple(fc.nat(3), tie("tree")).map(
          ([count, x]): Tree => ({
            source: `//#repeat i ${count}\n$i\n${x.source}\n//#end`,
            render: (counters) =>
              Array.from({ length: count }, (_, k) => [String(k), ...x.render([...counters, k])]).flat(),
          }),
        ),
      ),
    }));
    fc.assert(
      fc.property(tree, ({ source, render }) => {
        expect(body(source, { ON: true })).toBe(render([]).join("\n"));
      }),
    );
  });
});

describe("parameters", () => {
  const types = fc.dictionary(
    fc.stringMatching(/^[a-z][a-zA-Z0-9]{0,6}$/),
    fc.constantFrom<ParamType>("u32", "i32", "f32", "vec4u", "vec4f"),
    { maxKeys: 12 },
  );

  test("the layout aligns, keeps order and never overlaps", () => {
    fc.assert(
      fc.property(types, (params) => {
        const { offsets, size } = paramsLayout(params);
        let end = 0;
        for (const [name, type] of Object.entries(params)) {
          const bytes = type.startsWith("vec4") ? 16 : 4;
          const at = offsets.get(name)!;
          expect(at % bytes).toBe(0);
          expect(at).toBeGreaterThanOrEqual(end);
          expect(at - end).toBeLessThan(bytes);
          end = at + bytes;
        }
        expect(size).toBeGreaterThanOrEqual(Math.max(16, end));
        expect(size % (Object.values(params).some((type) => type.startsWith("vec4")) ? 16 : 4)).toBe(0);
      }),
    );
  });

  test("packing writes each value at its offset from any base", () => {
    const kernel = kernelOf("", { a: "u32", v: "vec4u", b: "i32", c: "f32", w: "vec4f" });
    const layout = paramsLayout(kernel.params);
    const view = new DataView(new ArrayBuffer(layout.size + 32));
    packParams(kernel, layout, { a: 4294967295, v: [1, 2, 3], b: -5, c: 0.5, w: [1.5, -2, 0, 9] }, view, 32);
    expect(view.getUint32(32, true)).toBe(4294967295);
    expect([0, 4, 8, 12].map((i) => view.getUint32(48 + i, true))).toEqual([1, 2, 3, 0]);
    expect(view.getInt32(64, true)).toBe(-5);
    expect(view.getFloat32(68, true)).toBe(0.5);
    expect([0, 4, 8, 12].map((i) => view.getFloat32(80 + i, true))).toEqual([1.5, -2, 0, 9]);
  });

  test("a value that is missing is an error that names kernel and parameter", () => {
    const kernel = kernelOf("", { count: "u32" });
    const view = new DataView(new ArrayBuffer(16));
    expect(() => packParams(kernel, paramsLayout(kernel.params), {}, view, 0)).toThrow(
      new RangeError("kernel k: parameter count has no value"),
    );
  });

  test("optional buffers are bound where their define is on", () => {
    const kernel = defineKernel({
      ...kernelOf(""),
      buffers: [
        ["a", "read"],
        ["bias?BIAS", "read"],
        ["o", "read_write"],
      ],
    });
    expect(boundBuffers(kernel, {}).map(([name]) => name)).toEqual(["a", "o"]);
    expect(boundBuffers(kernel, { BIAS: true })).toEqual([
      ["a", "read"],
      ["bias", "read"],
      ["o", "read_write"],
    ]);
  });
});

test("a linear grid covers its items within the limits and wastes less than a row", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.constantFrom(1, 64, 256, 1024), (count, per) => {
      const [x, y, z] = linearGrid(count, per);
      const groups = Math.max(1, Math.ceil(count / per));
      expect(z).toBe(1);
      expect(Math.max(x, y)).toBeLessThanOrEqual(65535);
      expect(x * y).toBeGreaterThanOrEqual(groups);
      expect(x * y - groups).toBeLessThan(y);
    }),
  );
});

test("texts are those of the committed digests; run with -u after a change that is meant", async () => {
  const digests = variants.map(
    ([name, { kernel, defines }]) =>
      [name, createHash("sha256").update(expand(kernel, defines)).digest("hex").slice(0, 16)] as const,
  );
  const sorted = Object.fromEntries(digests.sort(([a], [b]) => (a < b ? -1 : 1)));
  await expect(`${JSON.stringify(sorted, null, 2)}\n`).toMatchFileSnapshot("wgsl-digests.json");
});
