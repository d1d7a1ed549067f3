/** Counting a vitest run from its JSON report. */
import { expect, it } from "vitest";
import { countReport, lastJson } from "../lint/test-report.mjs";

const report = (more) => ({
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 1,
  numTodoTests: 0,
  testResults: [],
  ...more,
});

it("adds up tests and names the skipped ones", () => {
  const testResults = [
    {
      name: "/r/a.test.ts",
      status: "passed",
      assertionResults: [
        { status: "passed", fullName: "a works" },
        { status: "skipped", fullName: "a waits" },
      ],
    },
  ];
  expect(countReport(report({ testResults }), 0)).toEqual({ passed: 3, failed: 0, skipped: ["a waits"] });
});

it("counts a file that did not load, and a run that failed without a failing test", () => {
  const testResults = [{ name: "/r/b.test.ts", status: "failed", message: "no such module", assertionResults: [] }];
  expect(countReport(report({ testResults }), 1).failed).toBe(1);
  expect(countReport(report(), 1).failed).toBe(1);
  expect(countReport(report({ numFailedTests: 2 }), 1).failed).toBe(2);
  expect(countReport(null, 1)).toEqual({ passed: 0, failed: 1, skipped: [] });
});

it("finds the last JSON line", () => {
  expect(lastJson('x\n{"passed":1,"failed":0}\n\n')).toEqual({ passed: 1, failed: 0 });
  expect(lastJson("x\n{broken\n")).toBeNull();
  expect(lastJson("")).toBeNull();
});
