/** The debug scale as the environment gives it. */
import { ReflError } from "@refl/tensor";
import { expect, it } from "vitest";
import { debugLevel } from "../src/job.ts";

it("takes a number from 0 to 4 and nothing else", () => {
  expect([undefined, "", "0", "4"].map(debugLevel)).toEqual([0, 0, 0, 4]);
  for (const text of ["5", "-1", "on", "1.5"]) expect(() => debugLevel(text)).toThrow(ReflError);
  expect(() => debugLevel("on")).toThrow("REFL_DEBUG=on: must be a number from 0 to 4");
});
