/** The place of one weight in a module: its shape and how it begins, whether or not there is memory for it yet. */
import { Parameter } from "@refl/autograd";
import { type Device, ReflError, type Shape, ShapeError, Tensor } from "@refl/tensor";
import { drawInitial, type Initializer, weightStream } from "./init.ts";

/**
 * A module is built of slots without memory, so that a model of any size can be made, counted and compared with a checkpoint; `initialize` or a
 * checkpoint fills them.
 */
export class ParameterSlot {
  readonly shape: Shape;
  readonly initializer: Initializer;
  #parameter: Parameter | null = null;
  #frozen = false;

  constructor(shape: Shape, initializer: Initializer) {
    this.shape = shape;
    this.initializer = initializer;
  }

  /** The weight. Throws {@link ReflError} (code `no-weights`) while the slot is empty. */
  get value(): Parameter {
    if (!this.#parameter) {
      throw new ReflError(
        "no-weights",
        `a weight [${this.shape.join(", ")}] has no values yet: call initialize or loadStateDict first`,
      );
    }
    return this.#parameter;
  }

  /** The weight, or null while the slot is empty. */
  get parameter(): Parameter | null {
    return this.#parameter;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** A frozen weight is a constant to the tape: nothing is recorded or computed for its gradient. */
  set frozen(frozen: boolean) {
    this.#frozen = frozen;
    if (this.#parameter) this.#parameter.requiresGrad = !frozen;
  }

  /** Puts the memory of a tensor of the slot's shape here, in place of what was here before. The tensor's own handle is disposed. */
  fill(tensor: Tensor, label: string): Parameter {
    if (tensor.shape.join() !== this.shape.join()) {
      throw new ShapeError(label, [this.shape, tensor.shape], "a weight must have its slot's shape");
    }
    const parameter = new Parameter(tensor, label);
    parameter.requiresGrad = !this.#frozen;
    this.empty();
    this.#parameter = parameter;
    return parameter;
  }

  /** Fills the slot with its initial values, a function of the seed and the name alone. */
  initialize(device: Device, seed: number, name: string): Parameter {
    const made = Tensor.empty(device, this.shape, "f32", name);
    made.write_(drawInitial(this.initializer, this.shape, weightStream(seed, name)));
    return this.fill(made, name);
  }

  /** Gives the memory back; the slot is empty again. */
  empty(): void {
    this.#parameter?.dispose();
    this.#parameter = null;
  }
}
