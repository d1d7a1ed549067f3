/** Dynamic loss scaling: gradients that f16 could not hold are kept in its range by a factor that the device itself adapts. */
import { type Device, keep, Tensor } from "@refl/tensor";
import { backward } from "./tape.ts";

/** The names and defaults of PyTorch's `torch.amp.GradScaler`. */
export interface GradScalerOptions {
  /** Default 65536. */
  readonly initScale?: number;
  /** Factor after {@link growthInterval} steps in a row whose gradients were finite. Default 2. */
  readonly growthFactor?: number;
  /** Factor after a step whose gradients were not. Default 0.5. */
  readonly backoffFactor?: number;
  /** Default 2000. */
  readonly growthInterval?: number;
}

/**
 * The loss's factor (Micikevicius et al. 2018, arXiv 1710.03740, §3.2), and the rule by which it follows the gradients. Both are data on the device: an optimiser that was given
 * the scaler divides by the factor, refuses a step that overflowed, and adapts the factor, all without the host, so that captured steps can do it.
 */
export class GradScaler {
  /** f32 [8]: the scale, steps since it last changed, growth factor, backoff factor, growth interval, unused. */
  readonly state: Tensor;

  constructor(
    device: Device,
    { initScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000 }: GradScalerOptions = {},
  ) {
    this.state = keep(Tensor.empty(device, [8], "f32", "optimizer"));
    this.state.write_([initScale, 0, growthFactor, backoffFactor, growthInterval, 0, 0, 0]);
  }

  /** As `backward` from a loss of one element in f32, with all gradients times the scale. Throws as `backward` does. */
  backward(loss: Tensor): void {
    const scale = this.state.view(
      loss.shape,
      loss.shape.map(() => 1),
      0,
    );
    backward(loss, { gradient: scale });
    scale.dispose();
  }

  /** A view of what a saved state needs, f32 [2]: the scale and the steps since it last changed. The caller disposes of it. */
  saved(): Tensor {
    return keep(this.state.view([2], [1], 0));
  }

  dispose(): void {
    this.state.dispose();
  }
}
