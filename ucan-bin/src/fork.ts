/**
 * Forking: a holder hands narrower authority to many children, to all of them or to none.
 *
 * 1. Every chain that is narrowed verifies at `now` and ends in the holder's key. Who its root is
 *    was not asked: a chain with a stranger's root is worth nothing to whoever verifies it next.
 * 2. Every link asked for lies within its chain. What a verifier would find wrong with it is
 *    found here, where the one who asked can be told what was asked and what is held.
 * 3. Every token is written out, which finds those that would be too large.
 * 4. Only then is anything signed, one line of the answer at a time while the reader reads.
 *
 * A verifier trusts none of this: it checks every link itself (`verify/verify.ts`).
 */

import { Buffer } from "node:buffer";

import { MAX_FORKED, MAX_FORKED_LINE, PROTOCOL } from "./protocol.gen.ts";
import type {
  AnswerOf,
  Delegation,
  Fork,
  ForkChild,
  Forked,
  ForkLink,
  Verify,
} from "./protocol.gen.ts";
import { invalidKey, invalidRequest, Refusal, tooLarge, vacuousPolicy } from "./refusal.ts";
import { termsOf } from "./token/delegation.ts";
import { didOf, keyOf } from "./token/did_key.ts";
import { KEY_BYTES, keyPair, type KeyObject } from "./token/ed25519.ts";
import { unsigned, withSignature } from "./token/jwt.ts";
import { effectiveGrant, checkConstraint, checkAttenuation, type EffectiveGrant } from "./verify/attenuation.ts";
import { verifiedChain } from "./verify/verify.ts";
import { vacuous } from "./verify/vacuous.ts";

/** Seconds that a link begins in the past, so that a verifier whose clock is late accepts it. */
const BEFORE_NOW = 60;

/** Characters of tokens after which a line of the answer ends. */
const FULL_LINE = 768 * 1024;

/** How a holder looks at its own chain: by its own clock, knowing of no revocation. */
const VERIFY = {
  id: 0,
  protocol: PROTOCOL,
  op: "verify",
  leeway: 0,
  revoked: [],
  revocations_max_age: 0,
} as const satisfies Partial<Verify>;

type Lines = Iterable<Omit<AnswerOf["fork"], "id" | "ok">>;

/** A child whose links lack nothing but their signatures. */
interface Draft extends Omit<Forked, "links"> {
  readonly links: readonly string[];
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

/** The chains that links narrow, each at its index; the others are not looked at. */
function parentChains({ chains, children, ...how }: Fork): (EffectiveGrant | undefined)[] | Refusal {
  const used = new Set(children.flatMap(({ links }) => links.map(({ chain }) => chain)));
  return collected(chains, (chain, index) => {
    if (!used.has(index)) return undefined;
    const held = parentChain(chain, how);
    return held instanceof Refusal ? held.of(`chains[${index}]`) : held;
  });
}

function parentChain(
  chain: string[],
  { key, now, max_depth, accept_unlinked }: Omit<Fork, "chains" | "children">,
): EffectiveGrant | Refusal {
  const request = { chain, audience: key, now, max_depth, accept_unlinked };
  const verified = verifiedChain({ ...VERIFY, ...request });
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
  const texts = collected(links, (link, index) => {
    const text = textOf(link, child.aud, held[link.chain], request);
    return text instanceof Refusal ? text.of(`${at}.links[${index}]`) : text;
  });
  return texts instanceof Refusal ? texts : { ...child, links: texts };
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
  const wrong = checkAttenuation(held, cmd, exp, now, max_depth);
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
  const unasked = allow_vacuous ? undefined : vacuous(terms.policy);
  if (unasked !== undefined) return vacuousPolicy(unasked);
  return checkConstraint(held, constraint) ?? unsigned("delegation", payload);
}

/** Sign line by line. Nothing can be refused any more. */
function* signed(drafts: readonly Draft[], secret: KeyObject): Lines {
  const lines = inLines(drafts);
  for (const [index, line] of lines.entries()) {
    const children = line.map(({ links, ...child }) => ({
      ...child,
      links: links.map((text) => withSignature(text, secret)),
    }));
    yield { children, more: index < lines.length - 1 };
  }
}

/** Cut between children, so that no line has too many links, nor more text than it should. */
function inLines(drafts: readonly Draft[]): Draft[][] {
  const lines: Draft[][] = [];
  let links = Infinity;
  let size = 0;
  for (const draft of drafts) {
    const length = draft.links.reduce((sum, text) => sum + text.length, 0);
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

/** What `make` makes of each item, or its first refusal. */
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
