/** Numbers that a module computes with and that belong to no checkpoint: PyTorch's non-persistent buffers. */
import { constant, type Device, keep, type Shape, type Tensor } from "@refl/tensor";

/** f32 values of a shape, put on a device at first use and kept there. Modules dispose those in their fields with their weights. */
export class Constant {
  readonly shape: Shape;
  readonly values: Float32Array;
  #tensor: Tensor | null = null;

  constructor(values: ArrayLike<number>, shape: Shape) {
    this.values = Float32Array.from(values);
    this.shape = shape;
  }

  /** The values on `device`; owned here. */
  on(device: Device): Tensor {
    if (this.#tensor?.device !== device) {
      this.empty();
      this.#tensor = keep(constant(device, this.values, this.shape));
    }
    return this.#tensor!;
  }

  /** Gives the memory back until the next use. */
  empty(): void {
    this.#tensor?.dispose();
    this.#tensor = null;
  }
}
