/** docs/errors.md has a row for every error class. */
import { readFileSync } from "node:fs";
import * as models from "@refl/models";
import * as tensor from "@refl/tensor";
import { expect, it } from "vitest";
import * as refl from "../src/index.ts";

const text = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");

const classes = [...Object.values(tensor), ...Object.values(models), ...Object.values(refl)].filter(
  (value): value is typeof tensor.ReflError =>
    typeof value === "function" && value.prototype instanceof tensor.ReflError,
);

it.each([...new Set(classes)].map(({ name }) => name))("%s", (name) => {
  expect(text).toContain(`| \`${name}\``);
});
