/**
 * Fuzz the token parser and the policies under Node: `npm run fuzz -- SECONDS [SEED]`.
 *
 * The sources are translated into a temporary folder with a counter in every branch; an input
 * that takes a branch for the first time, or much more often than any before, is kept and
 * changed further.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { translated } from "./instrument.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const VECTORS = new URL("../../tests/vectors/", import.meta.url);
const FOLDERS = ["src", "src/token", "src/verify", "fuzz", "test"];

const [seconds = "10", seed = String(Date.now() % 2 ** 32)] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "nomos-fuzz-"));
try {
  process.exitCode = await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function main() {
  const branches = { count: 0 };
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  for (const name of FOLDERS) {
    mkdirSync(join(folder, name));
    const files = readdirSync(join(ROOT, name)).filter((file) => file.endsWith(".ts"));
    for (const file of files.filter((file) => !file.endsWith(".test.ts"))) {
      const source = readFileSync(join(ROOT, name, file), "utf8");
      const text = translated(source, name.startsWith("src") ? branches : undefined);
      writeFileSync(join(folder, name, file.replace(/ts$/, "js")), text);
    }
  }
  globalThis.__hits = new Uint32Array(branches.count);
  const load = (path) => import(pathToFileURL(join(folder, path)).href);
  const { fuzz } = await load("fuzz/engine.js");
  const { targets } = await load("fuzz/targets.js");
  const limits = { seconds: Number(seconds), seed: Number(seed), hits: globalThis.__hits };
  const report = fuzz(targets(VECTORS), limits);
  console.log(`seed ${seed}, ${seconds} seconds, ${branches.count} branches`);
  for (const { name, executions, corpus, taken } of report.targets)
    console.log(`${name}: ${executions} executions, corpus ${corpus}, ${taken} branches taken`);
  console.log(`${report.executions} executions, ${report.taken} branches taken`);
  console.log(`found: ${report.found.length}`);
  for (const { target, input, error } of report.found)
    console.log(`- ${target}: ${JSON.stringify(input.slice(0, 8000))}\n  ${error}`);
  return report.found.length > 0 ? 1 : 0;
}
