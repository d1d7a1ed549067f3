/** Backward rules of views: the inverse view, or a placement where a view left elements out. */
import { apply, type ViewAttrs } from "@refl/tensor";
import { type RuleTable, sumTo } from "../tape.ts";

export const viewRules: RuleTable<ViewAttrs> = {
  reshape: { backward: ({ shapes }, g) => [g.reshape(...shapes[0]!)] },
  permute: {
    backward: ({ attrs }, g) => {
      const inverse = new Array<number>(attrs.axes.length);
      attrs.axes.forEach((from, to) => {
        inverse[from] = to;
      });
      return [g.permute(...inverse)];
    },
  },
  expand: { backward: ({ shapes }, g) => [sumTo(g, shapes[0]!)] },
  slice: {
    backward: ({ attrs, shapes }, g) => [
      apply("place", [g], { shape: shapes[0]!, starts: attrs.starts, steps: attrs.steps, value: 0 }),
    ],
  },
};
