/** A check of gradients, for whoever writes a rule or a layer: the tape's gradients against differences of the function's values. */
import { AutogradError, isFloat, PhiloxStream, ShapeError, scope, type Tensor, tensor } from "@refl/tensor";
import { grad, noGrad, requireGrad } from "./tape.ts";

export interface GradcheckOptions {
  /** Step h of the differences, in the unit of the inputs. Default 1e-2, which suits inputs of about 1. */
  epsilon?: number;
  /** Largest error relative to the gradient's norm. Default 1e-3. */
  tolerance?: number;
  /** Seed of the random directions and of the weights w. Default 0. */
  seed?: number;
}

/** Random directions that each input is moved along. */
const DIRECTIONS = 2;

/** Values at x + k h d and their weights in the five-point derivative, whose error is h⁴/30 times the fifth derivative. */
const STENCIL = [
  [1, 8 / 12],
  [-1, -8 / 12],
  [2, -1 / 12],
  [-2, 1 / 12],
] as const;

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

/**
 * Compares the gradient of F = Σ w · fn(inputs), w random, by each f32 input with central differences of F along random directions of ±1.
 * `fn` gives f32 of any shape and must be a pure function, smooth within 2h of the inputs: no kink of relu, no tie of max. Inputs of other
 * types (ids, masks) are passed on as they are.
 *
 * The tolerance: `fn` computes in f32, so each value is off by about 6e-8 of itself and the difference quotient by about 1e-7 ‖w · fn‖ / h,
 * which is 1e-5 ‖w · fn‖ at the default step; that much is allowed on top, since a gradient may be zero. The quotient's own error, of order
 * h⁴, is smaller. 1e-3 leaves room for sums of thousands of terms inside `fn`; a wrong factor, sign or term is off by far more.
 *
 * Resolves to the largest error, relative to the gradient's norm. Rejects with {@link AutogradError} naming the input and its error when that is
 * above the tolerance, or when no input is f32; with {@link ShapeError} when the result's shape is not always the same.
 */
export async function gradcheck(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): Promise<number> {
  const { epsilon = 1e-2, tolerance = 1e-3, seed = 0 } = options;
  const checked = inputs.flatMap((t, i) => (t.dtype === "f32" && t.numel > 0 ? [i] : []));
  if (!checked.length) throw new AutogradError("gradcheck: no input is f32 with at least one element");

  const analytic = scope(() => {
    const leaves = inputs.map((t, i) => (checked.includes(i) ? requireGrad(t.detach()) : t.detach()));
    const output = fn(...leaves);
    if (!isFloat(output.dtype))
      throw new AutogradError(`gradcheck: the function gives ${output.dtype}, which has no gradient`);
    const stream = new PhiloxStream(seed);
    const weights = Float32Array.from({ length: output.numel }, (_, i) => stream.normal(i));
    const gradient = tensor(output.device, weights, output.shape, output.dtype);
    const wanted = checked.map((i) => leaves[i]!);
    return { weights, shape: output.shape, value: output.detach(), gradients: grad(output, wanted, { gradient }) };
  });
  const { weights, shape } = analytic;
  const values = await readAndDispose(analytic.value);
  const gradients: Float64Array[] = [];
  for (const gradient of analytic.gradients) gradients.push(await readAndDispose(gradient));
  const noise = (4 * 2 ** -24 * norm(values.map((v, i) => v * weights[i]!))) / epsilon;

  const sumAt = async (position: number, moved: Float64Array): Promise<number> => {
    const output = scope(() => {
      const { device, shape: own } = inputs[position]!;
      const arguments_ = inputs.map((t, i) => (i === position ? tensor(device, moved, own, "f32") : t.detach()));
      return noGrad(() => fn(...arguments_)).detach();
    });
    if (output.shape.join() !== shape.join()) {
      output.dispose();
      throw new ShapeError("gradcheck", [shape, output.shape], "the function must give results of one shape");
    }
    return dot(weights, await readAndDispose(output));
  };

  let worst = 0;
  for (const [order, position] of checked.entries()) {
    const x = await inputs[position]!.data();
    const gradient = gradients[order]!;
    for (let k = 0; k < DIRECTIONS; k++) {
      const stream = new PhiloxStream(seed, 1 + order * DIRECTIONS + k);
      const direction = Float64Array.from(x, (_, i) => (stream.word(i) & 1 ? 1 : -1));
      let numeric = 0;
      for (const [steps, weight] of STENCIL) {
        const moved = Float64Array.from(x, (v, i) => v + steps * epsilon * direction[i]!);
        numeric += (weight / epsilon) * (await sumAt(position, moved));
      }
      const expected = dot(gradient, direction);
      const excess = Math.abs(numeric - expected) - noise;
      const error = excess <= 0 ? 0 : excess / Math.max(Math.abs(numeric), norm(gradient));
      // Written so that NaN fails.
      if (!(error <= tolerance)) {
        const { label } = inputs[position]!;
        throw new AutogradError(
          `gradcheck: input ${position}${label ? ` (${label})` : ""} of shape [${inputs[position]!.shape.join(", ")}]: ` +
            `the gradient along a direction is ${expected}, differences give ${numeric}: error ${error.toExponential(2)}, tolerance ${tolerance}`,
        );
      }
      worst = Math.max(worst, error);
    }
  }
  return worst;
}

async function readAndDispose(t: Tensor): Promise<Float64Array> {
  try {
    return Float64Array.from(await t.data());
  } finally {
    t.dispose();
  }
}
