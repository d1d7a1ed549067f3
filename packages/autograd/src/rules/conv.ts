/** Backward rules of convolution. It is linear in x and in the weight, so the three products are each other's gradients. */
import { apply, type ConvAttrs, type Tensor } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

type Pair = readonly [number, number];

const lastTwo = (shape: readonly number[]): Pair => [shape[2]!, shape[3]!];

export const convRules: RuleTable<ConvAttrs> = {
  conv2d: {
    save: ({ inputs, needs }) => [needs[1] ? inputs[0]! : null, needs[0] ? inputs[1]! : null],
    backward: ({ saved, needs, shapes, attrs }, g) => {
      const [x, weight] = saved as [Tensor, Tensor];
      // The weight's first: its temporaries are larger, and go before there is a gradient as large as x.
      const dw = needs[1] ? apply("conv2dWeightGrad", [g, x], { ...attrs, kernel: lastTwo(shapes[1]!) }) : null;
      return [
        needs[0] ? apply("conv2dInputGrad", [g, weight], { ...attrs, size: lastTwo(shapes[0]!) }) : null,
        dw,
        ...(shapes.length > 2 ? [needs[2] ? g.sum([0, 2, 3]) : null] : []),
      ];
    },
  },
  conv2dInputGrad: {
    save: ({ inputs, needs }) => [needs[1] ? inputs[0]! : null, needs[0] ? inputs[1]! : null],
    backward: ({ saved, needs, shapes, attrs: { stride, padding } }, g) => {
      const [gradient, weight] = saved as [Tensor, Tensor];
      return [
        needs[0] ? apply("conv2d", [g, weight], { stride, padding }) : null,
        needs[1] ? apply("conv2dWeightGrad", [gradient, g], { stride, padding, kernel: lastTwo(shapes[1]!) }) : null,
      ];
    },
  },
  conv2dWeightGrad: {
    save: ({ inputs, needs }) => [needs[1] ? inputs[0]! : null, needs[0] ? inputs[1]! : null],
    backward: ({ saved, needs, shapes, attrs: { stride, padding } }, g) => {
      const [gradient, x] = saved as [Tensor, Tensor];
      return [
        needs[0] ? apply("conv2d", [x, g], { stride, padding }) : null,
        needs[1] ? apply("conv2dInputGrad", [gradient, g], { stride, padding, size: lastTwo(shapes[1]!) }) : null,
      ];
    },
  },
};
