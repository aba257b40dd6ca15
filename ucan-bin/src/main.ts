/** The program: the only file that uses stdin, stdout, the clock, randomness and the process. */

import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { readSync, writeSync } from "node:fs";

import { Keys } from "./keys.ts";
import { run } from "./oneshot.ts";
import { MAX_LINE } from "./protocol.gen.ts";
import { serve } from "./serve.ts";

/** Set by the build (`--define NOMOS_VERSION='"1.2.3"'`). */
declare const NOMOS_VERSION: string | undefined;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;

/** Milliseconds before a retry on a descriptor that another process made non-blocking. */
const RETRY_AFTER = 1;

function main(args: readonly string[]): number {
  const signer = {
    keys: new Keys(),
    random: randomBytes,
    version: typeof NOMOS_VERSION === "string" ? NOMOS_VERSION : "0.0.0-dev",
    runtime: runtime(),
    collect,
  };
  if (args.length === 1 && args[0] === "serve") {
    // Ctrl-C is for the parent program; this process ends when its input is closed.
    process.on("SIGINT", () => {});
    serve({ read, write: (bytes) => write(STDOUT, bytes) }, signer);
    signer.keys.clear();
    collect();
    return 0;
  }
  const outcome = run(args, { signer, input, clock: () => Math.floor(Date.now() / 1000) });
  write(STDERR, Buffer.from(outcome.stderr));
  write(STDOUT, Buffer.from(outcome.stdout));
  return outcome.status;
}

/** Exists in the binary's runtime only; other runtimes collect at a time of their own. */
declare const Bun: { readonly gc: (now: boolean) => void } | undefined;

function collect(): void {
  if (typeof Bun !== "undefined") Bun.gc(true);
}

function runtime(): string {
  const { bun, node } = process.versions;
  return bun === undefined ? `node ${node}` : `bun ${bun}`;
}

/** Block until there are bytes; 0 when the input has ended. */
function read(into: Uint8Array): number {
  for (;;) {
    try {
      return readSync(STDIN, into);
    } catch (error) {
      // Some platforms report the end of a pipe as an error.
      if (codeOf(error) === "EOF") return 0;
      pauseOrThrow(error);
    }
  }
}

/** Write all bytes. If the reader has closed the pipe, the process ends. */
function write(descriptor: number, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (error) {
      if (codeOf(error) === "EPIPE") process.exit(0);
      pauseOrThrow(error);
    }
  }
}

function input(): Uint8Array | undefined {
  const bytes = Buffer.alloc(MAX_LINE + 1);
  let size = 0;
  for (let got = -1; got !== 0 && size < bytes.length; size += got)
    got = read(bytes.subarray(size));
  return size > MAX_LINE ? undefined : bytes.subarray(0, size);
}

function pauseOrThrow(error: unknown): void {
  const code = codeOf(error);
  if (code === "EINTR") return;
  if (code !== "EAGAIN") throw error;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_AFTER);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** Main's status, or 3 after an exception, whose text is not printed: it may contain input. */
function status(): number {
  try {
    return main(process.argv.slice(2));
  } catch (error) {
    const code = codeOf(error);
    write(STDERR, Buffer.from(`nomos-ucan: failed (${typeof code === "string" ? code : "bug"})\n`));
    return 3;
  }
}

process.exit(status());
