/** Counts of passed, failed and skipped tests from the runners' own reports. */

/** Counts of vitest's JSON report (null: it wrote none) and its exit code: `{passed, failed, skipped}`, `skipped` being test names. A file that does not load is one failure, and so is an exit code that nothing else explains. */
export function countReport(report, exitCode) {
  if (report === null) return { passed: 0, failed: 1, skipped: [] };
  const unloaded = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  ).length;
  const failed = report.numFailedTests + unloaded;
  const skipped = report.testResults.flatMap((file) =>
    file.assertionResults
      .filter((test) => test.status !== "passed" && test.status !== "failed")
      .map((test) => test.fullName.trim()),
  );
  return { passed: report.numPassedTests, failed: failed === 0 && exitCode !== 0 ? 1 : failed, skipped };
}

/** The object on the last line of `text` that is not empty, or null when that is no JSON. */
export function lastJson(text) {
  try {
    return JSON.parse(text.trimEnd().split("\n").at(-1));
  } catch {
    return null;
  }
}
