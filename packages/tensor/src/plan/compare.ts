/** Comparing two recordings of one function: what changed in between and is no input. */
import { type DispatchStep, packedParams, type Step, usesOf, type Value } from "./record.ts";

/** Describes the first difference between what a function did and does; undefined where there is none. */
export function firstChange(before: readonly Step[], now: readonly Step[]): string | undefined {
  const partner = new Map<Value, Value>();
  for (let i = 0; i < Math.max(before.length, now.length); i++) {
    const a = before[i];
    const b = now[i];
    const where = `step ${i + 1}`;
    if (!a || !b) return `${where}: ${before.length} steps were captured, now there are ${now.length}`;
    const difference = differenceOf(a, b);
    if (difference) return `${where} (${nameOf(a)}): ${difference}`;
    const uses = usesOf(b);
    for (const [k, { value }] of usesOf(a).entries()) {
      const other = uses[k]!.value;
      const same = partner.get(value) ?? other;
      partner.set(value, same);
      if (same !== other || !sameMemory(value, other))
        return `${where} (${nameOf(a)}): operand ${k} (${value.label}) is another tensor`;
    }
  }
  return undefined;
}

const nameOf = (step: Step): string => (step.kind === "copy" ? "copy" : step.kernel.name);

function differenceOf(a: Step, b: Step): string | undefined {
  if (a.kind === "copy" || b.kind === "copy") {
    const same =
      a.kind === "copy" &&
      b.kind === "copy" &&
      a.bytes === b.bytes &&
      a.fromOffset === b.fromOffset &&
      a.toOffset === b.toOffset;
    return same ? undefined : `now ${nameOf(b)}`;
  }
  if (a.program !== b.program) return `now ${b.program.pipeline.label || b.kernel.name}, another kernel`;
  if (a.grid.join() !== b.grid.join()) return `now ${b.grid.join(" × ")} workgroups, captured ${a.grid.join(" × ")}`;
  return parameterChange(a, b);
}

function parameterChange(a: DispatchStep, b: DispatchStep): string | undefined {
  const after = packedParams(b);
  if (packedParams(a).every((byte, i) => byte === after[i])) return undefined;
  const changed = Object.keys(a.kernel.params).find((name) => String(a.params[name]) !== String(b.params[name]));
  return `parameter ${changed} is now ${b.params[changed!]}, captured ${a.params[changed!]}; what changes must be an input`;
}

/** Whether two values can be the same: the same memory outside, equal constants, or made inside both times. */
function sameMemory(a: Value, b: Value): boolean {
  if (a.constant && b.constant) {
    const after = new Uint8Array(b.constant);
    return a.constant.byteLength === after.length && new Uint8Array(a.constant).every((byte, i) => byte === after[i]);
  }
  if (a.outside || b.outside) return a.storage?.buffer === b.storage?.buffer;
  return a.bytes === b.bytes;
}
