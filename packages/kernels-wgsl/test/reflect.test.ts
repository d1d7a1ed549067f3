/** Every kernel's text says what its declaration says: bindings, parameter layout, workgroup size and entry point. */
import { expect, test } from "vitest";
import { ResourceType, WgslReflect } from "wgsl_reflect/wgsl_reflect.module.js";
import { boundBuffers, expand, paramsLayout } from "../src/index.ts";
import * as texts from "../src/wgsl.gen.ts";
import { kernels, variants } from "./kernels.ts";

/** Uniform blocks are written to slots of this size, the largest offset alignment that an adapter may ask for. */
const PARAMS_SLOT = 256;
/** The storage buffers per stage and threads per workgroup that WebGPU guarantees. */
const DEFAULT_LIMITS = { storageBuffers: 8, threads: 256 };

test("kernels have names of their own and at least one variant, variants differ", () => {
  expect(new Set(kernels.map((kernel) => kernel.name)).size).toBe(kernels.length);
  expect(kernels.filter((kernel) => kernel.variants.length === 0).map((kernel) => kernel.name)).toEqual([]);
  expect(variants.map(([name]) => name).filter((name, i, all) => all.indexOf(name) !== i)).toEqual([]);
});

test("every WGSL file is the text of some exported kernel and opens by saying what it computes", () => {
  const sources = new Set(kernels.map((kernel) => kernel.source));
  const files = Object.entries(texts as Record<string, string>);
  expect(files.filter(([, text]) => !sources.has(text)).map(([name]) => name)).toEqual([]);
  expect(files.filter(([, text]) => !/^\/\/ \S.{30}/.test(text)).map(([name]) => name)).toEqual([]);
});

test.for(variants)("%s", ([, { kernel, defines }]) => {
  const text = expand(kernel, defines);
  const found = new WgslReflect(text);

  const bound = boundBuffers(kernel, defines);
  const declared = [
    ...bound.map(([name, access], binding) => ({ name, group: 0, binding, type: ResourceType.Storage, access })),
    { name: "p", group: 0, binding: bound.length, type: ResourceType.Uniform, access: "read" },
  ];
  const groups = found.getBindGroups();
  expect(groups.length).toBe(1);
  expect(
    groups[0]!.map(({ name, group, binding, resourceType, access }) => ({
      name,
      group,
      binding,
      type: resourceType,
      access,
    })),
  ).toEqual(declared);
  expect(bound.length).toBeLessThanOrEqual(DEFAULT_LIMITS.storageBuffers);

  const layout = paramsLayout(kernel.params);
  const struct = found.structs.find((s) => s.name === "Params")!;
  expect(groups[0]!.at(-1)!.type.name).toBe("Params");
  if (Object.keys(kernel.params).length > 0)
    expect(new Map(struct.members.map((m) => [m.name, m.offset]))).toEqual(layout.offsets);
  expect(Math.max(struct.size, 16)).toBe(layout.size);
  expect(layout.size).toBeLessThanOrEqual(PARAMS_SLOT);

  expect(found.entry.compute.map((entry) => entry.name)).toEqual(["main"]);
  const [x, y, z] = kernel.workgroup;
  const size = [typeof x === "string" ? defines[x] : x, y, z];
  expect(found.entry.compute[0]!.workgroupSize).toEqual(size);
  expect(size.reduce((threads: number, n) => threads * Number(n), 1)).toBeLessThanOrEqual(DEFAULT_LIMITS.threads);

  expect(text.includes("enable subgroups;")).toBe(
    /\b(?:subgroup|quad)[A-Z]\w*\(|\bsubgroup_(?:invocation_id|size)\b/.test(text),
  );
});
