/**
 * The `fork` operation: a holder delegates to several children, to all of them or to none.
 *
 * 1. Every chain that is delegated from verifies at `now` and was delegated to the holder's key.
 *    Its root's issuer is not checked: verifiers reject a chain with an untrusted root.
 * 2. Every requested link is within its chain. A link that a verifier would reject is rejected
 *    here, with a message about the requested and the held values.
 * 3. Every token is encoded, which finds those that would be too large.
 * 4. Only then are tokens signed, one line of the answer at a time while the reader reads.
 *
 * A verifier does not rely on this: it checks every link itself (`verify/verify.ts`).
 */

import { Buffer } from "node:buffer";

import { MAX_FORKED, MAX_FORKED_LINE } from "./protocol.gen.ts";
import type { Body, Delegation, Fork, ForkChild, Forked, ForkLink } from "./protocol.gen.ts";
import { invalidKey, invalidRequest, Refusal, tooLarge } from "./refusal.ts";
import { termsOf } from "./token/delegation.ts";
import { didOf, keyOf } from "./token/did_key.ts";
import { KEY_BYTES, keyPair, type KeyObject } from "./token/ed25519.ts";
import { unsigned, withSignature } from "./token/jwt.ts";
import {
  checkDelegable,
  checkConstraint,
  checkStatements,
  effectiveGrant,
  type EffectiveGrant,
} from "./verify/attenuation.ts";
import { OWN_CHAIN, verifiedChain } from "./verify/verify.ts";
import { checkVacuous } from "./verify/vacuous.ts";

/** Seconds that a link begins in the past, so that a verifier with a slower clock accepts it. */
const BEFORE_NOW = 60;

/** Characters of tokens after which a line of the answer ends. */
const FULL_LINE = 768 * 1024;

type Lines = Iterable<Body<"fork">>;

/** A child whose links are complete except for their signatures. */
interface Draft extends Omit<Forked, "links"> {
  readonly links: readonly LinkDraft[];
}

interface LinkDraft {
  /** The token up to its signature. */
  readonly text: string;
  /** The chain, if it is one of the request's alternatives. */
  readonly chain?: number;
}

/** `secret` is the holder's; `random` makes keys for children that have none. */
export function fork(
  request: Fork,
  secret: KeyObject | Refusal,
  random: (bytes: number) => Uint8Array,
): Lines | Refusal {
  const wrong = checkCounts(request);
  if (wrong !== undefined) return wrong;
  const held = parentChains(request);
  if (held instanceof Refusal) return held;
  const drafts = collected(request.children, (child, index) =>
    drafted(child, `children[${index}]`, held, request, random),
  );
  if (drafts instanceof Refusal) return drafts;
  return secret instanceof Refusal ? secret : signed(drafts, secret);
}

function checkCounts({ children }: Fork): Refusal | undefined {
  const total = children.reduce((sum, { links }) => sum + links.length, 0);
  if (total > MAX_FORKED) return tooLarge(`${total} links; one fork has at most ${MAX_FORKED}`);
  const child = children.findIndex(({ links }) => links.length > MAX_FORKED_LINE);
  if (child === -1) return undefined;
  return tooLarge(`has more than ${MAX_FORKED_LINE} links`).of(`children[${child}]`);
}

/** The chains that links are delegated from, each at its index; others are not verified. */
function parentChains({ chains, children, ...how }: Fork): (EffectiveGrant | undefined)[] | Refusal {
  const used = new Set(children.flatMap(({ links }) => links.flatMap(chainsOf)));
  return collected(chains, (chain, index) => {
    if (!used.has(index)) return undefined;
    const held = parentChain(chain, how);
    return held instanceof Refusal ? held.of(`chains[${index}]`) : held;
  });
}

/** The indexes of the chains that a link may be delegated from, in order. */
function chainsOf({ chain, alternatives = [] }: ForkLink): number[] {
  return [chain, ...alternatives];
}

function parentChain(
  chain: string[],
  { key, now, max_depth, allow_missing_prf }: Omit<Fork, "chains" | "children">,
): EffectiveGrant | Refusal {
  const request = { chain, audience: key, now, max_depth, allow_missing_prf };
  const verified = verifiedChain({ ...OWN_CHAIN, ...request });
  return verified instanceof Refusal ? verified : effectiveGrant(verified);
}

function drafted(
  { aud, links }: ForkChild,
  at: string,
  held: readonly (EffectiveGrant | undefined)[],
  request: Fork,
  random: (bytes: number) => Uint8Array,
): Draft | Refusal {
  if (aud !== undefined && keyOf(aud) === undefined)
    return invalidKey("aud names no usable Ed25519 key").of(at);
  const child = aud === undefined ? newKey(random) : { aud };
  const made = collected(links, (link, index) => {
    const draft = draftedLink(link, child.aud, held, request);
    return draft instanceof Refusal ? draft.of(`${at}.links[${index}]`) : draft;
  });
  return made instanceof Refusal ? made : { ...child, links: made };
}

/** The link on the first chain that can be delegated so; if none can, why the first cannot. */
function draftedLink(
  link: ForkLink,
  aud: string,
  held: readonly (EffectiveGrant | undefined)[],
  request: Fork,
): LinkDraft | Refusal {
  const text = textOf(link, aud, held[link.chain], request);
  if (!(text instanceof Refusal)) return { text };
  for (const chain of link.alternatives ?? []) {
    const other = textOf({ ...link, chain }, aud, held[chain], request);
    if (!(other instanceof Refusal)) return { text: other, chain };
  }
  return text;
}

function newKey(random: (bytes: number) => Uint8Array): { aud: string; seed: string } {
  const bytes = random(KEY_BYTES);
  const seed = Buffer.from(bytes).toString("hex");
  const { publicBytes } = keyPair(bytes);
  bytes.fill(0);
  return { aud: didOf(publicBytes), seed };
}

/** The token of one link, up to its signature. */
function textOf(
  link: ForkLink,
  aud: string,
  held: EffectiveGrant | undefined,
  { key, now, max_depth, chains, allow_vacuous }: Fork,
): string | Refusal {
  if (held === undefined)
    return invalidRequest(`chain is ${link.chain}, and ${chains.length} are given`);
  const { root, leaf } = held;
  const { cmd, pol, nonce, constraint, exp = leaf.claims.exp } = link;
  const wrong = checkDelegable(held, cmd, exp, now, max_depth);
  if (wrong !== undefined) return wrong;
  const payload: Delegation = {
    iss: key,
    aud,
    sub: root.claims.iss,
    cmd,
    pol,
    nonce,
    nbf: Math.max(leaf.claims.nbf, now - BEFORE_NOW),
    exp,
    ...(constraint && { meta: { resource_constraint: constraint } }),
    prf: [leaf.cid],
  };
  const terms = termsOf(payload);
  if (terms instanceof Refusal) return terms;
  return (
    checkVacuous(terms.policy, allow_vacuous) ??
    checkConstraint(held, constraint) ??
    checkStatements(held, { policy: terms.policy, pol }) ??
    unsigned("delegation", payload)
  );
}

/** Sign line by line. Every check was made before. */
function* signed(drafts: readonly Draft[], secret: KeyObject): Lines {
  const lines = inLines(drafts);
  for (const [index, line] of lines.entries()) {
    const children = line.map(({ links, ...child }) => ({
      ...child,
      links: links.map(({ text, ...from }) => ({ ...withSignature(text, secret), ...from })),
    }));
    yield { children, more: index < lines.length - 1 };
  }
}

/** Divide children into lines, so that no line has too many links or too much text. */
function inLines(drafts: readonly Draft[]): Draft[][] {
  const lines: Draft[][] = [];
  let links = Infinity;
  let size = 0;
  for (const draft of drafts) {
    const length = draft.links.reduce((sum, { text }) => sum + text.length, 0);
    if (links + draft.links.length > MAX_FORKED_LINE || size + length > FULL_LINE) {
      lines.push([]);
      links = size = 0;
    }
    lines.at(-1)?.push(draft);
    links += draft.links.length;
    size += length;
  }
  return lines;
}

/** The result of `make` for each item, or its first refusal. */
function collected<T, Made>(
  items: readonly T[],
  make: (item: T, index: number) => Made | Refusal,
): Made[] | Refusal {
  const made: Made[] = [];
  for (const [index, item] of items.entries()) {
    const one = make(item, index);
    if (one instanceof Refusal) return one;
    made.push(one);
  }
  return made;
}
