/** Backward rules of copies: casts back, and the parts that went into a concatenation or a placement. */
import { apply, type CopyAttrs, slice } from "@refl/tensor";
import type { RuleTable } from "../tape.ts";

export const copyRules: RuleTable<CopyAttrs> = {
  cast: { backward: ({ dtypes }, g) => [g.to(dtypes[0]!)] },
  cat: {
    backward: ({ attrs, shapes, needs }, g) => {
      let start = 0;
      return shapes.map((shape, i) => {
        const end = start + shape[attrs.axis]!;
        const part = needs[i] ? slice(g, attrs.axis, start, end) : null;
        start = end;
        return part;
      });
    },
  },
  place: {
    backward: ({ attrs, shapes }, g) => [
      apply("slice", [g], { starts: attrs.starts, steps: attrs.steps, shape: shapes[0]! }),
    ],
  },
};
