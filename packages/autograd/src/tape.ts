/** The tape: what was computed from tensors that need gradients, and the walk back over it. */
import {
  AutogradError,
  type DType,
  DTypeError,
  type History,
  isFloat,
  keep,
  type Op,
  type OpAttrs,
  type Recorder,
  ShapeError,
  scope,
  setRecorder,
  Tensor,
  trackHistory,
} from "@refl/tensor";
import { rules } from "./rules/index.ts";

/** Where a gradient ends: a leaf that asks for gradients. */
export class Leaf implements History {
  readonly parents: readonly History[] = [];
  /** The accumulated gradient of the leaf's shape, kept until it is cleared or the leaf's tensor is disposed of. */
  grad: Tensor | null = null;
  /** Packed parameters give the place where gradients are added up; then `grad` is that place. It holds zeros while `grad` is null. */
  sink: Tensor | null = null;
  #orphan = false;

  /** True once the leaf's tensor is gone: nobody can ask for its gradient. */
  get orphan(): boolean {
    return this.#orphan;
  }

  /** Forgets what was accumulated; a sink is zeroed by its owner. */
  clear(): void {
    if (!this.sink) this.grad?.dispose();
    this.grad = null;
  }

  ownerDisposed(): void {
    this.#orphan = true;
    this.clear();
  }

  dispose(): void {}
}

/** A tensor that the tape kept for a backward rule; a handle of its own, so that the caller may dispose of theirs. */
export type Saved = Tensor | null;

/** From the gradient of a result to those of its inputs, in order; null where none is needed. */
export type BackwardFunction = (gradient: Tensor) => readonly (Tensor | null)[];

/** As {@link BackwardFunction} for several results; null for one that has no gradient, never for all. */
export type ManyBackwardFunction = (gradients: readonly (Tensor | null)[]) => readonly (Tensor | null)[];

/** One result of a step of the tape that has several: where its gradient is gathered. */
class NodeResult implements History {
  readonly parents: readonly [Node];

  constructor(node: Node) {
    this.parents = [node];
  }

  dispose(): void {}
}

/** One step of the tape: its rule's saved tensors and the records of its inputs (null where no gradient is needed). */
export class Node implements History {
  readonly name: string;
  /** What its results have as their history: the step itself where there is a single one. */
  readonly results: readonly History[];
  readonly inputs: readonly (History | null)[];
  /** The inputs' shapes, which their gradients must have. */
  readonly shapes: readonly (readonly number[])[];
  readonly backward: ManyBackwardFunction;
  #saved: readonly Saved[] | null;

  constructor(
    name: string,
    inputs: readonly Tensor[],
    results: number,
    saved: readonly Saved[],
    backward: ManyBackwardFunction,
  ) {
    this.name = name;
    this.results = results === 1 ? [this] : Array.from({ length: results }, () => new NodeResult(this));
    this.inputs = inputs.map((t) => t.history);
    this.shapes = inputs.map((t) => t.shape);
    this.#saved = saved;
    this.backward = backward;
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
  }
}

const record: Recorder = (op, inputs, attrs, outputs) => {
  const output = outputs[0]!;
  if (!isFloat(output.dtype) || inputs.every((t) => t.history === null)) return;
  const rule = rules[op] as AnyRule;
  if (rule === null) return;
  const needs = inputs.map((t) => t.history !== null);
  const kept = rule.save ? rule.save({ inputs, outputs, attrs, needs }) : [];
  const saved = kept.map((t) => t?.alias() ?? null);
  const shapes = inputs.map((t) => t.shape);
  const dtypes = inputs.map((t) => t.dtype);
  const context = { saved: saved as Tensor[], attrs, needs, shapes, dtypes };
  recordNode(op, inputs, output, saved, (gradient) => rule.backward(context, gradient));
};

/** What a rule decides from when an op is recorded. */
export interface SaveContext<A> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attrs: A;
  readonly needs: readonly boolean[];
}

/** What a rule works from on the way back: what it saved, the attributes, the inputs' shapes and types, and which of them need a gradient. */
export interface BackwardContext<A> {
  readonly saved: readonly Tensor[];
  readonly attrs: A;
  readonly needs: readonly boolean[];
  readonly shapes: readonly (readonly number[])[];
  readonly dtypes: readonly DType[];
}

/** One op's backward rule: from the gradient of its result to those of its inputs, each of its input's shape (null where none is needed). */
export interface Rule<A> {
  readonly save?: (context: SaveContext<A>) => readonly (Tensor | null)[];
  readonly backward: (context: BackwardContext<A>, gradient: Tensor) => readonly (Tensor | null)[];
}

/** Rules of a family: null marks an op whose result carries no gradient (comparisons, indices). */
export type RuleTable<Family> = { readonly [K in keyof Family]: Rule<Family[K]> | null };

type AnyRule = Rule<OpAttrs[Op]> | null;

// Recording is on from the start: nothing is recorded until a leaf asks for gradients.
setRecorder(record);

/** Levels of noGrad around the code that runs. */
let depth = 0;

/** Runs `fn` with its ops shown to `recorder`, at another depth of noGrad. */
function recording<T>(recorder: Recorder | null, level: number, fn: () => T): T {
  const before = setRecorder(recorder);
  const outer = depth;
  depth = level;
  try {
    return fn();
  } finally {
    depth = outer;
    setRecorder(before);
  }
}

/** Runs `fn` without recording: nothing inside needs or keeps gradients. */
export function noGrad<T>(fn: () => T): T {
  return recording(null, depth + 1, fn);
}

/** Runs `fn` with recording on, inside `noGrad` too: for recomputation. */
export function withGrad<T>(fn: () => T): T {
  return recording(record, 0, fn);
}

/** As {@link noGrad}, but shows the histories of all operands to `see`. */
export function noGradSeeing<T>(see: (history: History) => void, fn: () => T): T {
  const watch: Recorder = (_, inputs) => {
    for (const { history } of inputs) if (history) see(history);
  };
  return recording(watch, depth + 1, fn);
}

/** True where ops are being recorded. */
export function isGradEnabled(): boolean {
  return depth === 0;
}

/**
 * Marks a leaf (f32 or f16, without history) as one that gradients are wanted for. Returns it.
 * Throws {@link AutogradError} for a tensor that was computed, {@link DTypeError} for integers and truth values.
 */
export function requireGrad<T extends Tensor>(tensor: T): T {
  if (tensor.history && !(tensor.history instanceof Leaf))
    throw new AutogradError("requireGrad: only leaves can ask for gradients; detach() it first");
  if (!isFloat(tensor.dtype)) throw new DTypeError("requireGrad", [tensor.dtype], "only f32 and f16 have gradients");
  tensor.history ??= new Leaf();
  return tensor;
}

/** The accumulated gradient of a leaf after {@link backward}, or null. */
export function gradOf(tensor: Tensor): Tensor | null {
  return tensor.history instanceof Leaf ? tensor.history.grad : null;
}

/**
 * Records `output` as made from `inputs` by a rule given in place; for checkpoints and fused layers. `back` maps the output's gradient to
 * one of each input's shape, or null. `saved` are handles that the record owns: take them with `alias()`. Returns `output`.
 */
export function recordNode(
  name: string,
  inputs: readonly Tensor[],
  output: Tensor,
  saved: readonly Saved[],
  back: BackwardFunction,
): Tensor {
  recordMany(name, inputs, [output], saved, ([gradient]) => back(gradient!));
  return output;
}

/** As {@link recordNode} for several outputs that one rule leads back from, which runs once with the gradients of all that have one. */
export function recordMany(
  name: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  saved: readonly Saved[],
  back: ManyBackwardFunction,
): void {
  const node = new Node(name, inputs, outputs.length, saved, back);
  for (const [i, output] of outputs.entries()) output.history = node.results[i]!;
  for (const history of new Set([node, ...node.results])) trackHistory(history);
}

/** Sums a gradient of a broadcast shape down to `shape`. */
export function sumTo(gradient: Tensor, shape: readonly number[]): Tensor {
  const lead = gradient.rank - shape.length;
  const axes = gradient.shape
    .map((_, i) => i)
    .filter((i) => i < lead || (shape[i - lead] === 1 && gradient.shape[i] !== 1));
  if (axes.length === 0) return gradient;
  return gradient.sum(axes, true).reshape(...shape);
}

/** Order in which nodes can be walked: each after all that used its result. */
function order(roots: readonly History[]): Node[] {
  const sorted: Node[] = [];
  const seen = new Set<History>();
  const stack: { node: Pick<History, "parents">; next: number }[] = [{ node: { parents: roots }, next: 0 }];
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
  const { gradient = null, retainGraph = false } = options;
  if (root.history && !gradient && root.numel !== 1)
    throw new AutogradError(
      `backward: the root has shape [${root.shape.join(", ")}]; pass { gradient } or reduce it to one element`,
    );
  const outer = arriving;
  arriving = (leaf, gradient) => {
    if (!wanted || wanted.has(leaf)) arrive(leaf, gradient);
    else gradient.dispose();
  };
  try {
    walkBack([{ root, gradient }], retainGraph, arriving);
  } finally {
    arriving = outer;
  }
}

/** Where the walk in progress sends the gradients of leaves; a checkpoint's inner walk sends those of its parameters there too. */
let arriving: Arrive | null = null;

type Arrive = (leaf: Leaf, gradient: Tensor) => void;

/** Where the walk in progress gathers the gradients of its records, which takes the handle over. */
let giving: ((target: History, gradient: Tensor) => void) | null = null;

/** Where a walk begins: a tensor and its gradient, null for 1. */
export interface Start {
  readonly root: Tensor;
  readonly gradient: Tensor | null;
}

function walkBack(starts: readonly Start[], retainGraph: boolean, arrive: Arrive): void {
  const histories = starts.map(({ root, gradient }) => {
    if (!root.history)
      throw new AutogradError(
        "backward: the root was not computed from any tensor that requires a gradient (or inside noGrad)",
      );
    if (gradient && gradient.shape.join() !== root.shape.join())
      throw new ShapeError("backward", [root.shape, gradient.shape], "the gradient must have the root's shape");
    return root.history;
  });
  const nodes = order(histories);
  for (const { spent, name } of nodes) {
    if (spent)
      throw new AutogradError(
        `backward: what ${name} saved is gone: it was walked already (pass { retainGraph: true } the first time), or its scope() ended without it`,
      );
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
  const step = (node: Node): void => {
    const given = node.results.map((result) => pending.get(result) ?? null);
    if (given.some((gradient) => gradient)) {
      scope(() => {
        const gradients = node.backward(given);
        node.inputs.forEach((input, i) => {
          const g = gradients[i];
          if (!input || !g) return;
          if (g.shape.join() !== node.shapes[i]!.join()) {
            throw new AutogradError(
              `backward: ${node.name} gave operand ${i} of shape [${node.shapes[i]!.join(", ")}] a gradient of shape [${g.shape.join(", ")}]`,
            );
          }
          give(input, g.alias());
        });
      });
      for (const result of node.results) pending.delete(result);
      for (const gradient of given) gradient?.dispose();
    }
    if (!retainGraph) node.dispose();
  };
  const outer = giving;
  giving = give;
  try {
    noGrad(() =>
      scope(() => {
        for (const { root, gradient } of starts)
          give(root.history!, (gradient ?? Tensor.empty(root.device, root.shape, root.dtype).fill_(1)).alias());
        nodes.forEach(step);
      }),
    );
  } finally {
    giving = outer;
    for (const gradient of pending.values()) gradient.dispose();
  }
}

/**
 * Adds d(root)/d(leaf) to `grad` of every leaf that `root` depends on.
 * A leaf with a sink (a packed parameter) adds into it in place; others keep a tensor of their own until {@link zeroGrad}.
 */
export function backward(root: Tensor, options: BackwardOptions = {}): void {
  walk(root, options, (leaf, gradient) => {
    if (leaf.sink) {
      // A sink without gradient holds zeros. The first gradient is written, not added, so that a plan can have its kernel write it in place.
      if (leaf.grad) leaf.sink.add_(gradient);
      else leaf.sink.copy_(gradient);
      leaf.grad = leaf.sink;
    } else if (leaf.grad) {
      leaf.grad.add_(gradient);
    } else if (!leaf.orphan) {
      // A copy: the same tensor may be the gradient of several leaves, and this one will be added to in place.
      leaf.grad = keep(gradient.clone());
    }
    gradient.dispose();
  });
}

/** Gradients that arrive during a walk, added up by leaf. Their handles belong to no scope. */
class Arrivals {
  readonly #found = new Map<History, Tensor>();

  add(leaf: Leaf, gradient: Tensor): void {
    const before = this.#found.get(leaf);
    if (!before) {
      this.#found.set(leaf, gradient);
      return;
    }
    const sum = before.add(gradient);
    this.#found.set(leaf, sum.alias());
    for (const spent of [before, gradient, sum]) spent.dispose();
  }

  /** What arrived at a leaf, as a handle that the scope around the call ends. */
  get(leaf: History): Tensor | null {
    return this.#found.get(leaf)?.detach() ?? null;
  }

  dispose(): void {
    for (const gradient of this.#found.values()) gradient.dispose();
  }
}

/**
 * d(root)/d(input) for each of `inputs`, without touching accumulated gradients; zeros where `root` does not depend on one.
 * Throws {@link AutogradError} as {@link backward} does, and for an input that is no leaf marked by requireGrad.
 */
export function grad(root: Tensor, inputs: readonly Tensor[], options: BackwardOptions = {}): Tensor[] {
  const leaves = inputs.map(({ history }) => {
    if (!(history instanceof Leaf)) throw new AutogradError("grad: inputs must be leaves marked by requireGrad");
    return history;
  });
  const arrivals = new Arrivals();
  try {
    walk(root, options, (leaf, gradient) => arrivals.add(leaf, gradient), new Set(leaves));
    return inputs.map(
      (input, i) => arrivals.get(leaves[i]!) ?? Tensor.empty(input.device, input.shape, input.dtype).fill_(0),
    );
  } finally {
    arrivals.dispose();
  }
}

/**
 * The inner walk of a checkpoint. Gradients of `leaves` go on to the records that these stand for, one by one as the tape itself would have sent them, so
 * that sums are taken in the same order; those of all other leaves go where the walk in progress sends its own.
 */
export function gradientsInto(
  starts: readonly Start[],
  leaves: readonly Tensor[],
  targets: readonly (History | null)[],
): void {
  const arrive = arriving!;
  const give = giving!;
  const standIns = new Map(leaves.map(({ history }, i) => [history, targets[i] ?? null]));
  try {
    // Checkpoints inside this one send theirs through here: they may use this one's leaves.
    arriving = (leaf, gradient) => {
      const target = standIns.get(leaf);
      if (target) give(target, gradient);
      else arrive(leaf, gradient);
    };
    walkBack(starts, false, arriving);
  } finally {
    arriving = arrive;
  }
}

/** Forgets the gradients of leaves; those of packed parameters are zeroed by their group. */
export function zeroGrad(tensors: Iterable<Tensor>): void {
  for (const { history } of tensors) if (history instanceof Leaf) history.clear();
}
