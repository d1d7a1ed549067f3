/** What a plan can leave out that a function run op by op cannot, without changing a bit of what it leaves behind. */
import { copyFlat } from "@refl/kernels-wgsl";
import { ALIGNMENT } from "./arena.ts";
import { type DispatchStep, packedParams, type Step, usesOf, type Value } from "./record.ts";

/** The steps that a replay needs. */
export function optimizeSteps(steps: readonly Step[]): Step[] {
  return writtenInPlace(computedOnce(withoutDead(steps)));
}

/** Bytes of results that are kept for a second use: more would be bought with memory than is saved in time. */
const KEPT_BYTES = 32 * 2 ** 20;

/**
 * Computes once what is computed again from the same memory of outside, such as weights laid out for a convolution in every pass of a sampler. What depends on
 * values made inside stays: checkpoints compute such things twice on purpose.
 */
function computedOnce(steps: readonly Step[]): Step[] {
  const writes = new Map<Value, number>();
  for (const step of steps) {
    for (const { value, written } of usesOf(step)) if (written) writes.set(value, (writes.get(value) ?? 0) + 1);
  }
  const known = new Map<string, Value>();
  const versions = new Map<Value, number>();
  const same = new Map<Value, Value>();
  const kept: Step[] = [];
  let bytes = 0;
  for (const original of steps) {
    const step = withValues(original, same);
    const made = step.kind === "dispatch" ? soleResult(step, writes) : null;
    const key = made && keyOf(step as DispatchStep, versions);
    const before = key ? known.get(key) : undefined;
    if (made && before && bytes + before.bytes <= KEPT_BYTES) {
      same.set(made, before);
      bytes += before.bytes;
      continue;
    }
    if (made && key) known.set(key, made);
    for (const { value, written } of usesOf(step)) if (written) versions.set(value, (versions.get(value) ?? 0) + 1);
    kept.push(step);
  }
  return kept;
}

function withValues(step: Step, same: ReadonlyMap<Value, Value>): Step {
  if (!usesOf(step).some(({ value }) => same.has(value))) return step;
  const now = (value: Value): Value => same.get(value) ?? value;
  if (step.kind === "copy") return { ...step, from: now(step.from), to: now(step.to) };
  return { ...step, bindings: step.bindings.map((binding) => ({ ...binding, value: now(binding.value) })) };
}

/** The one value that a dispatch writes, if nothing else ever writes it, nobody outside holds it, and the rest is memory of outside. */
function soleResult(step: DispatchStep, writes: ReadonlyMap<Value, number>): Value | null {
  let made: Value | null = null;
  for (const { value, written } of usesOf(step)) {
    if (written) {
      if (made || value.storage || writes.get(value) !== 1) return null;
      made = value;
    } else if (!value.outside) return null;
  }
  return made;
}

/** What a dispatch computes: the kernel, its parameters, and its operands as they are at this point. */
function keyOf(step: DispatchStep, versions: ReadonlyMap<Value, number>): string {
  const operands = usesOf(step).flatMap(({ value, written }) =>
    written ? [] : [`${value.index}.${versions.get(value) ?? 0}`],
  );
  return `${step.program.id}|${operands}|${step.grid}|${packedParams(step)}`;
}

/** Leaves out steps that write only what no later step reads and nobody outside holds. */
function withoutDead(steps: readonly Step[]): Step[] {
  const wanted = new Set<Value>();
  const kept: Step[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i]!;
    const uses = usesOf(step);
    if (!uses.some(({ value, written }) => written && (value.storage || wanted.has(value)))) continue;
    // A value that is written in part may have been written before, so it stays wanted.
    for (const { value } of uses) wanted.add(value);
    kept.push(step);
  }
  return kept.reverse();
}

/** Bytes of a value that a step touches. */
interface Region {
  readonly from: number;
  readonly to: number;
}

const overlap = (a: Region, b: Region): boolean => a.from < b.to && b.from < a.to;

/** A copy of a whole value to an aligned place in another. */
interface PlainCopy {
  readonly source: Value;
  readonly target: Value;
  readonly place: Region;
}

const BYTES: Readonly<Record<string, number>> = { f32: 4, i32: 4, u32: 4, f16: 2 };

function plainCopy(step: DispatchStep): PlainCopy | null {
  const { kernel, defines, params, bindings } = step;
  const size = BYTES[String(defines["A"])];
  if (kernel !== copyFlat || !size || defines["A"] !== defines["O"] || defines["ACCUMULATE"] || defines["TO_BOOL"])
    return null;
  const [from, to] = bindings as [(typeof bindings)[number], (typeof bindings)[number]];
  const bytes = (params["count"] as number) * size;
  const start = to.offset + (params["offsetO"] as number) * size;
  const whole =
    from.value.storage === null && from.offset === 0 && params["offsetA"] === 0 && bytes === from.value.bytes;
  if (!whole || from.value === to.value || start % ALIGNMENT) return null;
  return { source: from.value, target: to.value, place: { from: start, to: start + bytes } };
}

/** What a step touches of the value at binding `at`: all that it binds, less where the kernel says so. */
function touched(step: Step, at: number): Region {
  if (step.kind === "copy") {
    const from = at === 0 ? step.fromOffset : step.toOffset;
    return { from, to: from + step.bytes };
  }
  const { offset, bytes } = step.bindings[at]!;
  if (step.kernel === copyFlat) {
    const size = BYTES[String(step.defines[at === 0 ? "A" : "O"])] ?? 4;
    const from = offset + (step.params[at === 0 ? "offsetA" : "offsetO"] as number) * size;
    return { from, to: from + (step.params["count"] as number) * size };
  }
  return { from: offset, to: bytes ? offset + bytes : Number.POSITIVE_INFINITY };
}

/**
 * Lets kernels write straight to where their result would be copied, above all gradients into their place among the packed ones: a value that is copied whole
 * and then done with becomes a part of the copy's target, if nothing touches that part from the value's first use to the copy.
 */
function writtenInPlace(steps: readonly Step[]): Step[] {
  const result: (Step | null)[] = [...steps];
  const uses = new Map<Value, Set<number>>();
  for (const [i, step] of steps.entries()) for (const { value } of usesOf(step)) addUse(uses, value, i);
  for (const [i, step] of steps.entries()) {
    const copy = result[i]?.kind === "dispatch" ? plainCopy(result[i] as DispatchStep) : null;
    if (!copy || step.kind === "copy") continue;
    const users = [...uses.get(copy.source)!].filter((at) => at !== i);
    if (!users.length || !canMove(result, uses, copy, users, i)) continue;
    const { place, target, source } = copy;
    for (const at of users) {
      const user = result[at] as DispatchStep;
      const bindings = user.bindings.map((binding) =>
        binding.value === source
          ? {
              value: target,
              offset: place.from + binding.offset,
              bytes: binding.bytes || place.to - place.from - binding.offset,
            }
          : binding,
      );
      result[at] = { ...user, bindings };
      addUse(uses, target, at);
    }
    result[i] = null;
    uses.delete(source);
    uses.get(target)!.delete(i);
  }
  return result.filter((step) => step !== null);
}

function addUse(uses: Map<Value, Set<number>>, value: Value, step: number): void {
  const found = uses.get(value);
  if (found) found.add(step);
  else uses.set(value, new Set([step]));
}

function canMove(
  steps: readonly (Step | null)[],
  uses: ReadonlyMap<Value, ReadonlySet<number>>,
  { source, target, place }: PlainCopy,
  users: readonly number[],
  copy: number,
): boolean {
  const first = Math.min(...users);
  if (Math.max(...users) > copy) return false;
  for (const at of users) {
    const step = steps[at]!;
    // One step must not bind two ranges of a buffer of which it writes one.
    if (step.kind === "copy" || usesOf(step).some(({ value }) => value === target)) return false;
  }
  for (const at of uses.get(target)!) {
    if (at < first || at >= copy) continue;
    const step = steps[at]!;
    for (const [k, { value }] of usesOf(step).entries()) {
      if (value === target && overlap(touched(step, k), place)) return false;
    }
  }
  return source !== target;
}
