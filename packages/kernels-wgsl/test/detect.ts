/** wgsl_reflect's race detector over a kernel variant: packs its parameters, lays out its buffers and runs some workgroups in lockstep. */
import { CallExpr, detectRaces, MemoryTracker } from "wgsl_reflect/wgsl_reflect.module.js";
import { type Kernel, type ParamValues, packParams, paramsLayout } from "../src/index.ts";

// The library (1.6.0) keeps the value that a stepped-into function returned on the syntax node of its call, which all invocations of the
// lockstep share: without this, every invocation sees the value of the last. Here each invocation has a value of its own.
const returned = new WeakMap<CallExpr, Map<number, unknown>>();
let invocation = 0;
Object.defineProperty(MemoryTracker.prototype, "currentInvocation", {
  get: () => invocation,
  set: (index: number) => {
    invocation = index;
  },
});
Object.defineProperty(CallExpr.prototype, "cachedReturnValue", {
  get(this: CallExpr) {
    return returned.get(this)?.get(invocation) ?? null;
  },
  set(this: CallExpr, value: unknown) {
    let values = returned.get(this);
    if (!values) returned.set(this, (values = new Map()));
    values.set(invocation, value);
  },
});

// Pairs of accesses are compared one by one; accesses to buffers that nothing wrote in the phase, and repeated ones, cannot add a race.
interface Phase {
  _phase: { bufferId: string; offset: number; size: number; kind: string; invocation: number }[];
}
const endPhase = MemoryTracker.prototype.endPhase;
MemoryTracker.prototype.endPhase = function (this: MemoryTracker): void {
  const phase = this as unknown as Phase;
  const written = new Set(phase._phase.filter((access) => access.kind === "write").map((access) => access.bufferId));
  const seen = new Set<string>();
  phase._phase = phase._phase.filter((access) => {
    const key = `${access.bufferId} ${access.offset} ${access.size} ${access.kind} ${access.invocation}`;
    return written.has(access.bufferId) && !seen.has(key) && seen.add(key);
  });
  endPhase.call(this);
};

/** A dispatch to check: a buffer for each binding in order, inputs filled; they hold the results afterwards. */
export interface Dispatch {
  readonly buffers: readonly ArrayBuffer[];
  readonly params: ParamValues;
  readonly grid: readonly [number, number, number];
}

/** Runs the dispatch of a kernel's text; returns the distinct races and barrier errors, as text. */
export function findRaces(kernel: Kernel, text: string, { buffers, params, grid }: Dispatch): string[] {
  const layout = paramsLayout(kernel.params);
  const uniform = new ArrayBuffer(layout.size);
  packParams(kernel, layout, params, new DataView(uniform), 0);
  const group = Object.fromEntries([...buffers, { uniform }].map((entry, binding) => [binding, entry]));
  const { races, errors } = detectRaces(text, "main", [...grid], { "0": group });
  const lines = races.map(
    (race) => `${race.bufferId}: ${race.a.kind} in line ${race.a.line}, ${race.b.kind} in line ${race.b.line}`,
  );
  return [...new Set([...lines, ...errors])];
}

/** Whether a text lets threads wait for each other, and so can have races that a barrier should prevent. */
export function hasBarrier(text: string): boolean {
  return /\b(?:workgroup|storage)Barrier\b|\bworkgroupUniformLoad\b/.test(text);
}
