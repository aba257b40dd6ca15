/**
 * Mutation testing: `npm run mutants [-- GLOB…]`, such as `'src/verify/*.ts'`.
 *
 * Stryker changes the sources where they lie and the tests read files beside this folder, so all
 * of it is copied first, and Stryker is installed there: a hundred packages that nothing else
 * needs. The report stays in `coverage/mutants.json`.
 */

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const STRYKER = ["@stryker-mutator/core@9.6.1", "@stryker-mutator/vitest-runner@9.6.1"];
const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What takes seconds would do so for every change of anything: searches for counterexamples. */
const LEFT_OUT = /\/(node_modules|coverage|reports|__pycache__|fuzz\.test\.ts|\w+_law\.test\.ts)$/;

/** And the attacks by the thousand; what verification says is tested row by row as well. */
const [ATTACKS, NO_ATTACKS] = ['describe("attacks"', 'describe.skip("attacks"'];

const folder = mkdtempSync(join(tmpdir(), "nomos-mutants-"));
const here = join(folder, "ucan-bin");
try {
  for (const part of ["ucan-bin", "tests/vectors"]) {
    const filter = (path) => !LEFT_OUT.test(path);
    cpSync(join(ROOT, part), join(folder, part), { recursive: true, filter });
  }
  const vectors = join(here, "test/vectors.test.ts");
  writeFileSync(vectors, readFileSync(vectors, "utf8").replace(ATTACKS, NO_ATTACKS));
  run("npm", "ci", "--silent");
  run("npm", "install", "--silent", "--no-save", ...STRYKER);
  const globs = process.argv.slice(2).join(",");
  const mutate = globs === "" ? [] : ["--mutate", globs];
  process.exitCode = run("npx", "stryker", "run", "--inPlace", ...mutate);
  const report = join(here, "reports/mutation/mutation.json");
  if (existsSync(report)) cpSync(report, join(ROOT, "ucan-bin/coverage/mutants.json"));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function run(program, ...args) {
  const { status, error } = spawnSync(program, args, { cwd: here, stdio: "inherit" });
  if (error !== undefined) throw error;
  if (status !== 0 && program === "npm") throw new Error(`${program} ${args[0]}: status ${status}`);
  return status ?? 1;
}
