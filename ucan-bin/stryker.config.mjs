/** How the code is changed and tested; run by `mutants.mjs`, on a copy. */

export default {
  plugins: ["@stryker-mutator/vitest-runner"],
  testRunner: "vitest",
  coverageAnalysis: "perTest",
  mutate: ["src/verify/*.ts", "src/token/*.ts"],
  concurrency: 2,
  timeoutMS: 5000,
  reporters: ["clear-text", "progress-append-only", "json"],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  // What cannot be noticed is listed in docs/testing.md, and is less than a tenth.
  thresholds: { high: 95, low: 90, break: 90 },
};
