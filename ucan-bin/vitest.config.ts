import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // No test asserts a time; on a busy machine, and under Stryker, 5 s are too few.
    testTimeout: 30_000,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      // main.ts is the process itself, and is tested as one, compiled, by tests/ucan.
      exclude: ["src/main.ts"],
      reporter: ["text"],
      thresholds: {
        "src/token/**": { 100: true },
        "src/verify/**": { 100: true },
        "src/*.ts": { 100: true },
      },
    },
  },
});
