/** Scopes: tensors made inside `scope(fn)` are disposed when it returns, except those in its result. */
import type { Tensor } from "./tensor.ts";

/**
 * How a tensor was made, kept by an upper floor in {@link Tensor.history}. This floor only needs to know what a record reaches and how to end it.
 */
export interface History {
  readonly parents: readonly History[];
  /** Gives up what the record saved; harmless when called twice. */
  dispose(): void;
  /** Called when the tensor that it belongs to is disposed of. */
  ownerDisposed?(): void;
}

/** A scope that is open. A tensor knows the one that owns it, so that making, keeping and passing on cost no look-up. */
export class Scope {
  readonly tensors: Tensor[] = [];
  histories: Set<History> | null = null;
}

// Scopes are synchronous and strictly nested, so one stack serves all devices.
const stack: Scope[] = [];

/** @internal */
export function track(tensor: Tensor): void {
  give(tensor, stack.length ? stack[stack.length - 1]! : null);
}

function give(tensor: Tensor, scope: Scope | null): void {
  tensor.owner = scope;
  scope?.tensors.push(tensor);
}

/** @internal */
export function trackHistory(history: History): void {
  const scope = stack.at(-1);
  if (scope) (scope.histories ??= new Set()).add(history);
}

/** Takes a tensor out of its scope: it now lives until `dispose()`. Returns it. */
export function keep<T extends Tensor>(tensor: T): T {
  tensor.owner = null;
  return tensor;
}

/** Tensors in a value: itself, or those in its arrays, maps and plain objects. */
function tensorsIn(value: unknown, found: Tensor[] = []): Tensor[] {
  if (value === null || typeof value !== "object") return found;
  if ("isTensor" in value) found.push(value as Tensor);
  else if (Array.isArray(value)) for (const item of value) tensorsIn(item, found);
  else if (value instanceof Map) for (const item of value.values()) tensorsIn(item, found);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) tensorsIn(item, found);
  return found;
}

/**
 * Runs `fn` and disposes what it made, except the tensors in its result, which pass to the enclosing scope.
 * Records for the tape stay alive while a tensor in the result needs them. `fn` must be synchronous: reading back comes after.
 * Throws `TypeError` when `fn` returns a promise.
 */
export function scope<T>(fn: () => T): T {
  const inner = openScope();
  let result: T | undefined;
  try {
    result = fn();
    if (result instanceof Promise)
      throw new TypeError("scope(fn): fn must be synchronous; read tensors back after the scope");
    return result;
  } finally {
    closeScope(inner, tensorsIn(result));
  }
}

/** @internal Opens a scope; {@link closeScope} must follow, whatever happens in between. */
export function openScope(): Scope {
  const inner = new Scope();
  stack.push(inner);
  return inner;
}

/** @internal Ends the innermost scope: `results` pass to the one around it. */
export function closeScope(inner: Scope, results: readonly Tensor[]): void {
  stack.pop();
  const outer = stack.length ? stack[stack.length - 1]! : null;
  for (const tensor of results) if (tensor.owner === inner) give(tensor, outer);
  for (const tensor of inner.tensors) if (tensor.owner === inner) tensor.dispose();
  if (!inner.histories) return;
  if (!outer) endUnreached(inner.histories, results);
  else if (outer.histories) for (const history of inner.histories) outer.histories.add(history);
  else outer.histories = inner.histories;
}

/** Ends the records that no result leads to: the forward passes whose backward never came. */
function endUnreached(histories: Set<History>, results: readonly Tensor[]): void {
  const queue = results.flatMap((t) => (t.history ? [t.history] : []));
  while (queue.length) {
    const history = queue.pop()!;
    if (histories.delete(history)) queue.push(...history.parents);
  }
  for (const history of histories) history.dispose();
}
