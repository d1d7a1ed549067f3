/** The command line and the choice of rows. */
import { expect, it } from "vitest";
import { LADDERS, selectLadders } from "../src/ladder.ts";
import { parseOptions, USAGE } from "../src/options.ts";
import { ROWS, selectRows } from "../src/rows.ts";

it("has defaults for all, and takes values after a space or an equals sign", () => {
  expect(parseOptions([])).toMatchObject({ host: "node", size: "quick", only: null, json: "bench/results/node.json" });
  expect(parseOptions(["--host", "deno", "--only=conv", "--peers", "tfjs,jax-js"])).toMatchObject({
    host: "deno",
    only: "conv",
    peers: ["tfjs", "jax-js"],
    json: "bench/results/deno.json",
  });
  expect(parseOptions(["--peers", "none", "--limit", "2.5"])).toMatchObject({ peers: [], limitMs: 2500 });
  expect(parseOptions([])).toMatchObject({ tune: "off" });
  expect(parseOptions(["--tune=online"])).toMatchObject({ tune: "online" });
  expect(parseOptions(["--help"])).toBe("help");
  for (const [, option] of USAGE.matchAll(/^ {2}(--\w+)/gm)) expect(() => parseOptions([option!])).toThrow(/needs a/);
});

it("refuses what it does not know, naming what fits", () => {
  expect(() => parseOptions(["--hosts", "x"])).toThrow(/unknown option --hosts/);
  expect(() => parseOptions(["--host", "firefox"])).toThrow(/node, chromium, deno/);
  expect(() => parseOptions(["--peers", "torch"])).toThrow(/jax-js/);
  expect(() => parseOptions(["--tune", "on"])).toThrow(/off, cached, online/);
  expect(() => parseOptions(["--rounds", "0"])).toThrow(/positive/);
  expect(() => parseOptions(["--limit", "soon"])).toThrow(/positive number of seconds/);
});

it("selects rows by family or name", () => {
  expect(new Set(selectRows("quick", "conv").map(({ family }) => family))).toEqual(new Set(["conv"]));
  expect(selectRows("quick", "MLP")).toHaveLength(1);
  expect(selectRows("full", null)).toHaveLength(ROWS.length);
  expect(selectRows("quick", null).length).toBeLessThan(ROWS.length);
  expect(new Set(ROWS.map(({ name }) => name)).size).toBe(ROWS.length);
});

it("selects ladders by name, each of a row that there is", () => {
  expect(selectLadders(null)).toEqual(LADDERS);
  expect(selectLadders("ladder")).toEqual(LADDERS);
  expect(selectLadders("ladder: conv").map(({ op }) => op)).toEqual(["conv2d", "conv2dInputGrad", "conv2dWeightGrad"]);
  for (const { row } of LADDERS) expect(ROWS).toContain(row);
});
