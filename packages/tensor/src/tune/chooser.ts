/** How an op asks which of its kernels to take: the choice that is open, and who answers. */

/** A choice between kernels that compute the same. */
export interface KernelChoice<Name extends string = string> {
  /** What is computed, e.g. `matmul`, `conv2d`, `conv2dWeightGrad`. */
  readonly op: string;
  /** Everything but sizes that decides how fast each is: dtype, storage order, alignment. */
  readonly form: string;
  /** The sizes, by short names. */
  readonly sizes: Readonly<Record<string, number>>;
  /** What is taken without a tuner. */
  readonly standard: Name;
  /** All that take these operands on this device, the standard one among them. */
  readonly candidates: readonly Name[];
  /** Further ones that take them too, but are so far behind that no tuner should spend time on them. */
  readonly slow?: readonly Name[];
  /** Texts of the kernels: what was learnt of others is not believed. */
  readonly kernels: readonly { readonly source: string }[];
  /** Encodes the work by one of them. Called any number of times: each call writes the whole result. */
  run(name: Name): void;
}

/** Answers choices. `choose` is synchronous, since ops are. */
export interface KernelChooser {
  /** One of the choice's candidates. */
  choose(choice: KernelChoice): string;
  /** Rises whenever the same choice may have another answer than before, so that plans are made anew. */
  readonly version: number;
}

/** The chooser's answer as a candidate's name. */
export function choose<Name extends string>(chooser: KernelChooser, choice: KernelChoice<Name>): Name {
  return chooser.choose(choice as unknown as KernelChoice) as Name;
}

/** Always the named kernel of an op, and the standard one of ops without a name: for tests and for timing one kernel beside another. */
export class FixedChooser implements KernelChooser {
  readonly version = 0;
  readonly #names: Readonly<Record<string, string>>;

  /** `names` by op. */
  constructor(names: Readonly<Record<string, string>>) {
    this.#names = names;
  }

  /** Throws `RangeError` where the named kernel does not take the operands. */
  choose({ op, form, sizes, candidates, slow = [], standard }: KernelChoice): string {
    const name = this.#names[op];
    if (name === undefined) return standard;
    const fitting = [...slow, ...candidates];
    if (fitting.includes(name)) return name;
    throw new RangeError(
      `${op}: the kernel "${name}" does not take ${form} with ${JSON.stringify(sizes)} on this device; ${fitting.join(", ")} do`,
    );
  }
}
