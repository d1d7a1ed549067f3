/** Backward rules of reductions: a gradient is spread back over the reduced axes. */
import { numel, type ReduceAttrs, type Tensor } from "@refl/tensor";
import type { Rule, RuleTable } from "../tape.ts";

/** The gradient with its reduced axes back as size 1. */
function unreduced(gradient: Tensor, shape: readonly number[], axes: readonly number[]): Tensor {
  return gradient.reshape(...shape.map((size, i) => (axes.includes(i) ? 1 : size)));
}

const count = (shape: readonly number[], axes: readonly number[]): number => numel(axes.map((i) => shape[i]!));

const extremum: Rule<ReduceAttrs["amax"]> = {
  save: ({ inputs, outputs }) => [inputs[0]!, outputs[0]!],
  backward: ({ saved, attrs, shapes }, g) => {
    const shape = shapes[0]!;
    const [x, result] = saved as [Tensor, Tensor];
    const equal = x.eq(unreduced(result, shape, attrs.axes)).to(g.dtype);
    return [unreduced(g, shape, attrs.axes).mul(equal).div(equal.sum(attrs.axes, true))];
  },
};

export const reduceRules: RuleTable<ReduceAttrs> = {
  sum: { backward: ({ attrs, shapes }, g) => [unreduced(g, shapes[0]!, attrs.axes).expand(...shapes[0]!)] },
  mean: {
    backward: ({ attrs, shapes }, g) => [
      unreduced(g, shapes[0]!, attrs.axes)
        .mul(1 / count(shapes[0]!, attrs.axes))
        .expand(...shapes[0]!),
    ],
  },
  amax: extremum,
  amin: extremum,
  // d var / dx = 2 (x - mean) / (count - correction).
  variance: {
    save: ({ inputs }) => [inputs[0]!],
    backward: ({ saved, attrs, shapes }, g) => {
      const x = saved[0]!;
      const centred = x.sub(x.mean(attrs.axes, true));
      return [
        centred.mul(unreduced(g, shapes[0]!, attrs.axes)).mul(2 / (count(shapes[0]!, attrs.axes) - attrs.correction)),
      ];
    },
  },
  argmax: null,
};
