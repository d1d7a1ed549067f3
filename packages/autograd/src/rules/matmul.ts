/** Backward rules of matrix products: dA = G Bᵀ, dB = Aᵀ G; transposes are views. */
import { binary, linear, type MatmulAttrs, type Tensor } from "@refl/tensor";
import { type RuleTable, sumTo } from "../tape.ts";

const SLOPES = {
  relu: "reluBackward",
  gelu: "geluBackward",
  silu: "siluBackward",
  quickGelu: "quickGeluBackward",
} as const;

export const matmulRules: RuleTable<MatmulAttrs> = {
  matmul: {
    save: ({ inputs, needs }) => [needs[1] ? inputs[0]! : null, needs[0] ? inputs[1]! : null],
    backward: ({ saved, needs, shapes }, g) => {
      const [a, b] = saved as [Tensor, Tensor];
      return [
        needs[0] ? sumTo(g.matmul(b.transpose(-1, -2)), shapes[0]!) : null,
        needs[1] ? sumTo(a.transpose(-1, -2).matmul(g), shapes[1]!) : null,
      ];
    },
  },
  // With an activation the product is computed again: cheaper than keeping it for every layer.
  linear: {
    save: ({ inputs, needs, attrs }) => {
      const active = attrs.activation !== "none";
      return [
        needs[1] || active ? inputs[0]! : null,
        needs[0] || active ? inputs[1]! : null,
        active ? (inputs[2] ?? null) : null,
      ];
    },
    backward: ({ saved, needs, shapes, attrs }, gradient) => {
      const [x, weight, bias] = saved as [Tensor, Tensor, Tensor | null];
      const act = attrs.activation;
      const g = act === "none" ? gradient : binary(SLOPES[act], gradient, linear(x, weight, bias));
      const [out, width] = shapes[1] as [number, number];
      const rows = g.reshape(-1, out);
      return [
        needs[0] ? rows.matmul(weight).reshape(...shapes[0]!) : null,
        needs[1] ? rows.transpose(0, 1).matmul(x.reshape(-1, width)) : null,
        ...(shapes.length > 2 ? [needs[2] ? rows.sum(0) : null] : []),
      ];
    },
  },
};
