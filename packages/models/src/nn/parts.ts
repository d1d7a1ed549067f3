/** Large batches in parts, for tensors inside a layer or model that would exceed what the device binds at once. */
import { checkpoint, isGradEnabled } from "@refl/autograd";
import { cat, scope, Tensor } from "@refl/tensor";
import { currentRandom, namedStream, withRandom } from "./random.ts";

/** Bytes of an element; half precision is counted as if it were single, so that both are cut alike. */
const BYTES = 4;

/** What a function of parts takes: tensors of the batch, and such as all samples share. */
type Inputs = readonly [Tensor, ...(Tensor | null)[]];

/** The tensors of the samples from `first` up to `last`; what does not have the batch as its first axis is whole in every part. */
function cut<Given extends Inputs>(inputs: Given, first: number, last: number): Given {
  const count = inputs[0].shape[0];
  const part = (input: Tensor | null) => (input?.shape[0] === count ? input.slice(0, first, last) : input);
  return inputs.map(part) as unknown as Given;
}

/**
 * fn(...inputs) where every sample (index of the first axis) is computed by itself: at once where its largest tensor fits the device's largest binding, else
 * in even parts of the batch, one after the other, whose results are joined. Gradients pass. In parts, dropout draws other masks than it would at once.
 *
 * @param inputs the first one's leading axis is the batch; those that lead with as many are cut alike, others (one time for all) are given whole
 * @param widest elements per sample of the largest tensor that `fn` makes
 * @param fn gives a tensor that leads with the batch
 */
export function inParts<Given extends Inputs>(inputs: Given, widest: number, fn: (...part: Given) => Tensor): Tensor {
  const count = inputs[0].shape[0]!;
  const most = Math.max(1, Math.floor(inputs[0].device.largestBinding / (BYTES * widest)));
  if (count <= most) return fn(...inputs);
  const each = Math.ceil(count / Math.ceil(count / most));
  const random = currentRandom();
  const parts = Array.from({ length: Math.ceil(count / each) }, (_, i) => {
    const stream = random && namedStream(random, `part ${i}`);
    const [first, last] = [i * each, Math.min(count, (i + 1) * each)];
    return withRandom(stream, () => scope(() => fn(...cut(inputs, first, last))));
  });
  return cat(parts, 0);
}

/**
 * As {@link inParts}, but where gradients are recorded the samples of a batch are computed one by one, and each again on its way back, so that what is kept
 * does not grow with the batch but for inputs and results. Gradients are those of the samples one by one.
 */
export function inRecomputedParts<Given extends Inputs>(
  inputs: Given,
  widest: number,
  fn: (...part: Given) => Tensor,
): Tensor {
  const count = inputs[0].shape[0]!;
  if (count === 1 || !isGradEnabled()) return inParts(inputs, widest, fn);
  const random = currentRandom();
  const samples = Array.from({ length: count }, (_, i) => {
    const stream = random && namedStream(random, `part ${i}`);
    return scope(() => {
      const part = cut(inputs, i, i + 1);
      const again = (...tensors: Tensor[]): Tensor => {
        let next = 0;
        const given = part.map((input) => (input instanceof Tensor ? tensors[next++]! : null));
        return withRandom(stream, () => fn(...(given as unknown as Given)));
      };
      return checkpoint(again, ...part.filter((input) => input instanceof Tensor));
    });
  });
  return cat(samples, 0);
}

/** As {@link inParts} for a function of rows along the last axis, such as a feed-forward net. x: [..., D]; `widest` is per row. */
export function inRowParts(x: Tensor, widest: number, fn: (rows: Tensor) => Tensor): Tensor {
  const rows = x.numel / x.shape.at(-1)!;
  if (rows * widest * BYTES <= x.device.largestBinding) return fn(x);
  const out = inParts([x.reshape(rows, -1)], widest, fn);
  return out.reshape(...x.shape.slice(0, -1), out.shape.at(-1)!);
}
