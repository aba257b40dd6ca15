/**
 * The one-shot subcommands: JSON on stdin, JSON on stdout.
 *
 * Exit status 0 is an answer, 1 a refusal, 2 wrong usage. Arguments hold only the name of the
 * subcommand, because other users can see them in a process list.
 */

import { Buffer } from "node:buffer";

import { answer, type Signer } from "./operations.ts";
import { MAX_LINE, PROTOCOL } from "./protocol.gen.ts";
import { internal, invalidRequest, Refusal, tooLarge } from "./refusal.ts";
import { readRequest } from "./serve.ts";
import { isObject, type Json, type JsonObject } from "./token/canonical.ts";

export interface Outcome {
  readonly status: 0 | 1 | 2;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Environment {
  readonly signer: Signer;
  /** All of stdin, or undefined if it is longer than `MAX_LINE` bytes. */
  readonly input: () => Uint8Array | undefined;
  /** Unix seconds, for `fork` and `validate` without `now`. */
  readonly clock: () => number;
}

export const USAGE = `usage: nomos-ucan <command>, JSON on stdin where one is named

  serve      answer requests, one line of JSON each, until stdin ends
  mint       {"payload": {…}, "seed": "<64 hex>"}  →  {"jwt", "cid"}
  fork       {"seed": "<64 hex>", "chains": [["<jwt>", …], …], "now"?: <unix seconds>, …,
              "children": [{"aud"?: "<did>", "links": [{"cmd": "/…", "chain"?: <index>,
              "constraint"?: {…}, "pol"?: […], "exp"?: <unix seconds>}, …]}, …]}
             →  {"children": [{"aud", "seed"?, "links": [{"jwt", "cid"}, …]}, …]}
  validate   {"chain": ["<jwt>", …], "now"?: <unix seconds>, "trusted_issuers"?: […], …}
  parse      {"jwt": "<jwt>"}  →  what it says, with no signature checked
  keygen     →  {"did", "seed"}
  --version
  --help

exit status: 0 answered, 1 refused (the reason is on stdout), 2 wrong usage
`;

type Command = (around: Environment) => object;

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["mint", withInput(mint)],
  ["fork", withInput(fork)],
  ["validate", withInput(validate)],
  ["parse", withInput(parse)],
  ["keygen", keygen],
]);

/** Run the subcommand that `args` name; `serve` is not one of these. */
export function run(args: readonly string[], around: Environment): Outcome {
  const [name = "", ...extra] = args;
  if (extra.length > 0)
    return usage(`${name.slice(0, 32)} takes no arguments; its input goes to stdin`);
  if (name === "--help") return { status: 0, stdout: USAGE, stderr: "" };
  if (name === "--version") return { status: 0, stdout: `${around.signer.version}\n`, stderr: "" };
  const command = COMMANDS.get(name);
  if (command === undefined) return usage("no such command");
  const result = attempt(command, around);
  if (!(result instanceof Refusal)) return printed(0, result);
  return printed(1, { ok: false, ...result.details });
}

function attempt(command: Command, around: Environment): object {
  try {
    return command(around);
  } catch {
    return internal();
  }
}

function printed(status: 0 | 1, result: object): Outcome {
  return { status, stdout: `${JSON.stringify(result)}\n`, stderr: "" };
}

function usage(message: string): Outcome {
  return { status: 2, stdout: "", stderr: `nomos-ucan: ${message}\n\n${USAGE}` };
}

function withInput(command: (input: JsonObject, around: Environment) => object): Command {
  return (around) => {
    const bytes = around.input();
    if (bytes === undefined) return tooLarge(`the input is longer than ${MAX_LINE} bytes`);
    const input = readRequest(bytes);
    return input instanceof Refusal ? input : command(input, around);
  };
}

/** Members that clients of the persistent loop send, and that people do not write. */
const FRAME = { id: 0, protocol: PROTOCOL } as const;

function mint(input: JsonObject, { signer }: Environment): object {
  const wrong = checkMembers(input, ["payload", "seed"]);
  if (wrong !== undefined) return wrong;
  const { seed, ...rest } = input;
  const key = loaded(seed, signer);
  if (key instanceof Refusal) return key;
  return answer(
    "delegate",
    { allow_vacuous: false, ...rest, ...FRAME, op: "delegate", key },
    signer,
  );
}

function fork(input: JsonObject, { signer, clock }: Environment): object {
  const wrong = checkMembers(input, ["seed", "chains", "children"]);
  if (wrong !== undefined) return wrong;
  const { seed, children, ...rest } = input;
  const key = loaded(seed, signer);
  if (key instanceof Refusal) return key;
  const defaults = { now: clock(), max_depth: 8, allow_missing_prf: false, allow_vacuous: false };
  const asked = { children: completed(children, signer), key };
  const lines = answer("fork", { ...defaults, ...rest, ...FRAME, op: "fork", ...asked }, signer);
  if (lines instanceof Refusal) return lines;
  return { children: Array.from(lines).flatMap((line) => line.children) };
}

/** Add the members that a person may leave out of a link; other values are left for validation. */
function completed(children: Json | undefined, { random }: Signer): Json | undefined {
  const withNonce = (link: Json): Json => {
    const nonce = Buffer.from(random(NONCE_BYTES)).toString("hex");
    return isObject(link) ? { chain: 0, pol: [], nonce, ...link } : link;
  };
  const withLinks = (child: Json): Json =>
    isObject(child) && Array.isArray(child["links"])
      ? { ...child, links: child["links"].map(withNonce) }
      : child;
  return Array.isArray(children) ? children.map(withLinks) : children;
}

/** Load the key for this one operation, and return its DID. */
function loaded(seed: Json | undefined, signer: Signer): string | Refusal {
  const answered = answer("load_key", { ...FRAME, op: "load_key", seed }, signer);
  return answered instanceof Refusal ? answered : answered.key;
}

function validate(input: JsonObject, { signer, clock }: Environment): object {
  const wrong = checkMembers(input, []);
  if (wrong !== undefined) return wrong;
  const defaults = {
    now: clock(),
    leeway: 0,
    max_depth: 8,
    revoked: [],
    revocations_max_age: 5,
    allow_missing_prf: false,
  };
  const verdict = answer("verify", { ...defaults, ...input, ...FRAME, op: "verify" }, signer);
  return verdict instanceof Refusal ? verdict : { ok: true, ...verdict };
}

function parse(input: JsonObject, { signer }: Environment): object {
  const wrong = checkMembers(input, ["jwt"]);
  if (wrong !== undefined) return wrong;
  const { jwt, ...rest } = input;
  const read = answer("inspect", { ...rest, ...FRAME, op: "inspect", token: jwt }, signer);
  return read instanceof Refusal ? read : { ok: true, ...read };
}

/** Random bytes in a nonce that a person left out. */
const NONCE_BYTES = 16;

function keygen({ signer }: Environment): object {
  const made = answer("generate_key", { ...FRAME, op: "generate_key" }, signer);
  return made instanceof Refusal ? made : { did: made.key, seed: made.seed };
}

/** Members of a request that a subcommand sets, and that its input therefore cannot have. */
const SET_HERE = ["id", "protocol", "op", "key", "token"];

/** Why the input is not one for this subcommand; the operation checks all other members. */
function checkMembers(input: JsonObject, required: readonly string[]): Refusal | undefined {
  const missing = required.find((name) => !Object.hasOwn(input, name));
  if (missing !== undefined) return invalidRequest(`${missing} is missing`);
  const unknown = SET_HERE.find((name) => Object.hasOwn(input, name));
  return unknown === undefined ? undefined : invalidRequest(`"${unknown}" is unknown`);
}
