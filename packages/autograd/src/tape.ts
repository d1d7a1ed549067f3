/** The tape: what was computed from tensors that need gradients, and the walk back over it. */
import { AutogradError, type History, type Op, type OpAttrs, type Recorder, scope, setRecorder, ShapeError, Tensor, trackHistory } from "@refl/tensor";
import { rules } from "./rules/index.ts";

/** Where a gradient ends: a leaf that asks for gradients. */
export class Leaf implements History {
  readonly parents: readonly History[] = [];
  /** The accumulated gradient of the leaf's shape, kept until it is cleared. */
  grad: Tensor | null = null;
  /** Packed parameters give the place where gradients are added up; then `grad` is that place. */
  sink: Tensor | null = null;
  dispose(): void {}
}

/** A tensor that the tape kept for a backward rule; a handle of its own, so that the caller may dispose of theirs. */
export type Saved = Tensor | null;

/** One step of the tape: its rule's saved tensors and the records of its inputs (null where no gradient is needed). */
export class Node implements History {
  readonly name: string;
  readonly inputs: readonly (History | null)[];
  readonly shape: readonly number[];
  readonly backward: (gradient: Tensor) => readonly (Tensor | null)[];
  #saved: readonly Saved[] | null;
  readonly #release: (() => void) | undefined;

  constructor(name: string, inputs: readonly (History | null)[], saved: readonly Saved[], shape: readonly number[], backward: Node["backward"], release?: () => void) {
    this.name = name;
    this.inputs = inputs;
    this.#saved = saved;
    this.shape = shape;
    this.backward = backward;
    this.#release = release;
  }

  get parents(): readonly History[] {
    return this.inputs.filter((h): h is History => h !== null);
  }

  get spent(): boolean {
    return this.#saved === null;
  }

  dispose(): void {
    if (!this.#saved) return;
    for (const tensor of this.#saved) tensor?.dispose();
    this.#saved = null;
    this.#release?.();
  }
}

const record: Recorder = (op, inputs, attrs, outputs) => {
  let needed = false;
  for (const input of inputs) if (input.history) needed = true;
  if (!needed) return;
  const rule = rules[op] as AnyRule;
  if (rule === null) return;
  const needs = inputs.map((t) => t.history !== null);
  const kept = rule.save ? rule.save({ inputs, outputs, attrs, needs }) : [];
  const saved = kept.map((t) => t?.alias() ?? null);
  const shapes = inputs.map((t) => t.shape);
  const node = new Node(
    op,
    inputs.map((t) => t.history),
    saved,
    outputs[0]!.shape,
    (gradient) => rule.backward({ saved: saved as Tensor[], attrs, needs, shapes }, gradient),
  );
  outputs[0]!.history = node;
  trackHistory(node);
};

/** What a rule decides from when an op is recorded. */
export interface SaveContext<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attrs: A;
  readonly needs: readonly boolean[];
}

/** What a rule works from on the way back: what it saved, the attributes, the inputs' shapes and which of them need a gradient. */
export interface BackwardContext<A> {
  readonly saved: readonly Tensor[];
  readonly attrs: A;
  readonly needs: readonly boolean[];
  readonly shapes: readonly (readonly number[])[];
}

/**
 * One op's backward rule: from the gradient of its result to those of its inputs (null where none is needed).
 * A gradient may still have the broadcast shape of the result: the walk sums it to the input's shape.
 */
export interface Rule<A> {
  readonly save?: (context: SaveContext<A>) => readonly (Tensor | null)[];
  readonly backward: (context: BackwardContext<A>, gradient: Tensor) => readonly (Tensor | null)[];
}

/** Rules of a family: null marks an op whose result carries no gradient (comparisons, indices). */
export type RuleTable<Family> = { readonly [K in keyof Family]: Rule<Family[K]> | null };

type AnyRule = Rule<OpAttrs[Op]> | null;

/** Starts recording; called when the first leaf is made. */
function enable(): void {
  if (depth === 0) setRecorder(record);
}

let depth = 0;

/** Runs `fn` without recording: nothing inside needs or keeps gradients. */
export function noGrad<T>(fn: () => T): T {
  const before = setRecorder(null);
  depth++;
  try {
    return fn();
  } finally {
    depth--;
    setRecorder(before);
  }
}

/** Runs `fn` with recording on, inside `noGrad` too: for recomputation. */
export function withGrad<T>(fn: () => T): T {
  const before = setRecorder(record);
  const level = depth;
  depth = 0;
  try {
    return fn();
  } finally {
    depth = level;
    setRecorder(before);
  }
}

/** True where ops are being recorded. */
export function isGradEnabled(): boolean {
  const now = setRecorder(null);
  setRecorder(now);
  return now !== null;
}

/** Marks a leaf (f32 or f16, without history) as one that gradients are wanted for. Returns it. */
export function requireGrad<T extends Tensor>(tensor: T): T {
  if (tensor.history && !(tensor.history instanceof Leaf)) throw new AutogradError("requireGrad: only leaves can ask for gradients; detach() it first");
  tensor.history ??= new Leaf();
  enable();
  return tensor;
}

/** The accumulated gradient of a leaf after {@link backward}, or null. */
export function gradOf(tensor: Tensor): Tensor | null {
  return tensor.history instanceof Leaf ? tensor.history.grad : null;
}

/** Records `output` as made from `inputs` by a rule given in place; for checkpoints and fused layers. */
export function recordNode(name: string, inputs: readonly Tensor[], output: Tensor, saved: readonly Saved[], back: Node["backward"], release?: () => void): Tensor {
  const node = new Node(
    name,
    inputs.map((t) => t.history),
    saved,
    output.shape,
    back,
    release,
  );
  output.history = node;
  trackHistory(node);
  return output;
}

/** Sums a gradient of a broadcast shape down to `shape`. */
export function sumTo(gradient: Tensor, shape: readonly number[]): Tensor {
  const lead = gradient.rank - shape.length;
  const axes = gradient.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && gradient.shape[i] !== 1));
  if (axes.length === 0) return gradient;
  return gradient.sum(axes, true).reshape(...shape);
}

/** Order in which nodes can be walked: each after all that used its result. */
function order(root: History): Node[] {
  const sorted: Node[] = [];
  const seen = new Set<History>();
  const stack: { node: History; next: number }[] = [{ node: root, next: 0 }];
  seen.add(root);
  while (stack.length) {
    const top = stack.at(-1)!;
    const child = top.node.parents[top.next++];
    if (child === undefined) {
      stack.pop();
      if (top.node instanceof Node) sorted.push(top.node);
    } else if (!seen.has(child)) {
      seen.add(child);
      stack.push({ node: child, next: 0 });
    }
  }
  return sorted.reverse();
}

/** Options of {@link backward} and {@link grad}. */
export interface BackwardOptions {
  /** Gradient of the root, of its shape; 1 for a root of one element. */
  gradient?: Tensor;
  /** Keeps what the tape saved, so that backward can run again. */
  retainGraph?: boolean;
}

/**
 * Walks back from `root` and hands each leaf's gradient to `arrive`, which takes the handle over. Every tensor of the walk is disposed here.
 * Throws {@link AutogradError} for a root without history, one of many elements without `gradient`, or a tape already spent.
 */
function walk(root: Tensor, options: BackwardOptions, arrive: Arrive, wanted?: ReadonlySet<History>): void {
  const outer = arriving;
  arriving = (leaf, gradient) => {
    if (!wanted || wanted.has(leaf)) arrive(leaf, gradient);
    else gradient.dispose();
  };
  try {
    walkBack(root, options, arriving);
  } finally {
    arriving = outer;
  }
}

/** Where the walk in progress sends the gradients of leaves; a checkpoint's inner walk sends those of its parameters there too. */
let arriving: Arrive | null = null;

type Arrive = (leaf: Leaf, gradient: Tensor) => void;

function walkBack(root: Tensor, options: BackwardOptions, arrive: Arrive): void {
  const start = root.history;
  if (!start) throw new AutogradError("backward: the root was not computed from any tensor that requires a gradient (or inside noGrad)");
  if (!options.gradient && root.numel !== 1) throw new AutogradError(`backward: the root has shape [${root.shape.join(", ")}]; pass { gradient } or reduce it to one element`);
  if (options.gradient && options.gradient.shape.join() !== root.shape.join()) throw new ShapeError("backward", [root.shape, options.gradient.shape], "the gradient must have the root's shape");
  const nodes = order(start);
  for (const node of nodes) {
    if (node.spent) throw new AutogradError(`backward: ${node.name} was already walked and its saved tensors are gone; pass { retainGraph: true } the first time`);
  }
  const pending = new Map<History, Tensor>();
  const give = (target: History, gradient: Tensor): void => {
    if (target instanceof Leaf) {
      arrive(target, gradient);
      return;
    }
    const before = pending.get(target);
    if (!before) {
      pending.set(target, gradient);
      return;
    }
    pending.set(target, before.add(gradient).alias());
    before.dispose();
    gradient.dispose();
  };
  noGrad(() => {
    scope(() => {
      give(start, (options.gradient ?? Tensor.empty(root.device, root.shape, root.dtype).fill_(1)).alias());
      for (const node of nodes) {
        const gradient = pending.get(node);
        if (!gradient) continue;
        pending.delete(node);
        scope(() => {
          const gradients = node.backward(gradient);
          node.inputs.forEach((input, i) => {
            const g = gradients[i];
            if (input && g) give(input, g.alias());
          });
        });
        gradient.dispose();
        if (!options.retainGraph) node.dispose();
      }
    });
  });
  for (const gradient of pending.values()) gradient.dispose();
}

/**
 * Adds d(root)/d(leaf) to `grad` of every leaf that `root` depends on.
 * A leaf with a sink (a packed parameter) adds into it in place; others keep a tensor of their own until {@link zeroGrad}.
 */
export function backward(root: Tensor, options: BackwardOptions = {}): void {
  walk(root, options, (leaf, gradient) => {
    if (leaf.sink) {
      leaf.sink.add_(gradient);
      leaf.grad = leaf.sink;
    } else if (leaf.grad) {
      leaf.grad.add_(gradient);
    } else {
      leaf.grad = gradient.isContiguous ? gradient : gradient.clone().alias();
      if (leaf.grad === gradient) return;
    }
    gradient.dispose();
  });
}

/** d(root)/d(input) for each of `inputs`, without touching accumulated gradients; zeros where `root` does not depend on one. */
export function grad(root: Tensor, inputs: readonly Tensor[], options: BackwardOptions = {}): Tensor[] {
  const leaves = inputs.map((t) => t.history);
  const found = new Map<History, Tensor>();
  for (const leaf of leaves) if (!(leaf instanceof Leaf)) throw new AutogradError("grad: inputs must be leaves marked by requireGrad");
  walk(
    root,
    options,
    (leaf, gradient) => {
      const before = found.get(leaf);
      found.set(leaf, before ? before.add(gradient).alias() : gradient);
      if (before) {
        before.dispose();
        gradient.dispose();
      }
    },
    new Set(leaves as History[]),
  );
  return inputs.map((input, i) => {
    const gradient = found.get(leaves[i]!);
    if (!gradient) return Tensor.empty(input.device, input.shape, input.dtype).fill_(0);
    const tracked = gradient.view(gradient.shape, gradient.strides);
    gradient.dispose();
    return tracked;
  });
}

/**
 * The inner walk of a checkpoint: gradients of `leaves` are returned (null for those that need none), those of all other leaves go where
 * the walk in progress sends its own.
 */
export function gradientsInto(root: Tensor, leaves: readonly Tensor[], gradient: Tensor): (Tensor | null)[] {
  const outer = arriving!;
  const found = new Map<History, Tensor>();
  const own = new Set(leaves.map((t) => t.history));
  walkBack(root, { gradient }, (leaf, g) => {
    if (!own.has(leaf)) outer(leaf, g);
    else {
      const before = found.get(leaf);
      found.set(leaf, before ? before.add(g) : g);
    }
  });
  return leaves.map((t) => (t.history ? (found.get(t.history) ?? null) : null));
}

/** Forgets the gradients of leaves; sinks are zeroed by their owner. */
export function zeroGrad(tensors: Iterable<Tensor>): void {
  for (const tensor of tensors) {
    if (!(tensor.history instanceof Leaf)) continue;
    if (!tensor.history.sink) tensor.history.grad?.dispose();
    tensor.history.grad = null;
  }
}
