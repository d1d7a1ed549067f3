/** What a plan can leave out that a function run op by op cannot, without changing a bit of what it leaves behind. */
import { type Step, usesOf, type Value } from "./record.ts";

/** The steps that a replay needs. */
export function optimizeSteps(steps: readonly Step[]): Step[] {
  return withoutDead(steps);
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
