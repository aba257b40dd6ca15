/**
 * Verification of an invocation with its chain, or of a bare chain of delegations.
 * `docs/verification.md` lists each rule with its id, such as V5.3.
 *
 * A token is a signed sentence: "the holder of this key may do that, until then". A verifier has to
 * establish three things: that the sentence has one reading and one text, that its issuer signed
 * it, and that the issuer had the authority. The checks run in the order below; the first that
 * fails determines the code, the index of the token at fault (root 0, the invocation last), and the
 * field. Each step is done for every token before the next step, and cheap steps come first: an
 * unverified token costs little before its form is valid, and its claims are compared only after
 * its signature was verified.
 *
 * V1. Sizes: characters in a token, links in a chain, nesting. `malformed_ucan`, `chain_too_deep`.
 *    Nothing is decoded before its size is known. Once the root is parsed, the delegations that it
 *    replaces count as links, too.
 * V2. Text: three segments, one of a few constant headers, payload in canonical form and of its
 *    schema. `malformed_ucan`. Constant headers fix the algorithm (RFC 8725, 3.1 and 3.2), leave
 *    no room for keys or instructions in the token (3.10), and separate the kinds of token (3.11
 *    and 3.12). Canonical form is RFC 8785 on the I-JSON of RFC 7493. Because the whole text must be
 *    its own encoding, one token has one text and so one cid, and its revocation cannot be evaded by
 *    writing it in another way (RFC 4648, 3.5, on spare bits).
 * V3. Keys: every issuer and audience is a canonical did:key on the curve, not of small order.
 *    `malformed_ucan`. R and S canonical, R not of small order (RFC 8032, 5.1.3 and 5.1.7;
 *    RFC 8725, 3.4). `bad_signature`. All verifiers of Ed25519 then agree.
 * V4. Signatures, all of them (RFC 8725, 3.3; UCAN delegation, "Signature Validation").
 *    `bad_signature`. Then times: `not_yet_valid`, `expired`, by the caller's clock and leeway
 *    (UCAN delegation, "Time Bounds"; RFC 7519, 4.1.4 and 4.1.5).
 * V5. Links: principals aligned, `prf`, `sub`, nothing after a link with `meta.approval` or
 *    `meta.forkable: false`, `chain_invalid` (UCAN delegation, "Principal Alignment" and
 *    "Subject"); command, times and constraint not wider,
 *    `chain_attenuation_violation` ("Command"). A widened link refuses the chain even if the call
 *    would be within the links before it.
 * V6. The root's issuer is trusted, `untrusted_issuer` (RFC 8725, 3.8), and not revoked, `revoked`.
 * V7. Nothing in the chain or its lineage is revoked, `revoked`, as far as a view shows that is
 *    recent enough, `revocations_stale` (UCAN revocation): no cid, no issuer, no audience, and none
 *    of the agents, apps and approvals that the root names. A known revocation counts at any age of
 *    the view.
 * V8. The invocation: by the last audience, `chain_invalid`; for this service, as its chain is,
 *    `audience_mismatch` (RFC 8725, 3.9; see `service.ts`); not wider than its chain;
 *    every policy of every link holds (UCAN delegation, "Policy"), within a budget of steps. See
 *    `invocation.ts`. A bare chain ends in the expected holder, `audience_mismatch`. A requested
 *    capability is within the chain, whose policies are not evaluated: `requested.ts`.
 *
 * V9, claiming the nonce of a write, needs a durable store and belongs to the service.
 *
 * The delegations of a chain that verified under a trusted root are cached by their cids, so that
 * V2 to V4 are not repeated for their text and signatures; times, links, trust and revocation are
 * checked every time.
 *
 * Left out on purpose: the header's `ucv` and `typ` are not read, because the whole header is
 * compared; the nonce is not checked for randomness, because that is not possible; `iat` is only a
 * start, because the signer chooses it; policies of one link are not compared with those of the
 * next, because all of them must hold, which no later link can undo.
 */

import type { Body, Question } from "../protocol.gen.ts";
import {
  audienceMismatch,
  badSignature,
  chainInvalid,
  chainTooDeep,
  expired,
  first,
  invalidRequest,
  malformed,
  notYetValid,
  Refusal,
} from "../refusal.ts";
import { shown, type JsonObject } from "../token/canonical.ts";
import { putVerified, isVerified, getVerified } from "../token/verified_cache.ts";
import { readDelegation, type DelegationToken } from "../token/delegation.ts";
import { keyOf } from "../token/did_key.ts";
import { isSignature, verify as isSigned } from "../token/ed25519.ts";
import { readInvocation, type InvocationToken } from "../token/invocation.ts";
import { isTooLong, TOO_LONG } from "../token/jwt.ts";
import { checkClaims, checkInvocation } from "./invocation.ts";
import { effectiveConstraint, checkLink, subjectError, hasOtherSubject } from "./links.ts";
import { checkRevocations, checkRoot } from "./trust.ts";
import { checkRequested } from "./requested.ts";

/** How the holder of a chain verifies it: by its own clock, without revocations. */
export const OWN_CHAIN = { leeway: 0, revoked: [], revocations_max_age: 0 };

/** A parsed chain. It always has a root and a leaf, which may be the same. */
export interface Chain {
  readonly links: readonly DelegationToken[];
  readonly root: DelegationToken;
  readonly leaf: DelegationToken;
  readonly cids: string[];
  /** The cids in the root's `prf`: the delegations that it replaces. */
  readonly lineage: string[];
  /** The delegations of the chain, and those that its root replaces. */
  readonly depth: number;
}

/** Delegations that a root may name, because a verifier has to look up each of them. */
const MAX_LINEAGE = 64;

export type Token = DelegationToken | InvocationToken;

/** The input of all checks. */
interface Evidence {
  readonly chain: Chain;
  readonly invocation: InvocationToken | undefined;
  /** Every token, in the order of hops. */
  readonly tokens: readonly Token[];
  readonly request: Question<"verify">;
}

type Check = (evidence: Evidence) => Refusal | undefined;

/** V3 to V8, in order. */
const CHECKS: readonly Check[] = [
  checkKeys,
  checkSignatureForms,
  checkSignatures,
  checkTimes,
  checkLinks,
  ({ chain, request }) => checkRoot(chain, request),
  ({ chain, tokens, request }) => checkRevocations(chain, tokens, request),
  checkUse,
];

export function verify(request: Question<"verify">): Body<"verify"> | Refusal {
  const evidence = examine(request);
  return evidence instanceof Refusal ? evidence : verdict(evidence);
}

/** A verified chain, for its holder to delegate from. */
export function verifiedChain(request: Question<"verify">): Chain | Refusal {
  const evidence = examine(request);
  return evidence instanceof Refusal ? evidence : evidence.chain;
}

function examine(request: Question<"verify">): Evidence | Refusal {
  const evidence = read(request);
  if (evidence instanceof Refusal) return evidence;
  for (const check of CHECKS) {
    const refusal = check(evidence);
    if (refusal !== undefined) return refusal;
  }
  // Only chains of trusted issuers are cached, so that others cannot fill the cache.
  if (request.trusted_issuers !== undefined) for (const link of evidence.chain.links) putVerified(link);
  return evidence;
}

/** V1 and V2 for the links of a chain. */
export function readChain(tokens: readonly string[], maxDepth: number): Chain | Refusal {
  if (tokens.length > maxDepth) return tooDeep(maxDepth).at(maxDepth); // V1.1
  const long = tokens.findIndex(isTooLong);
  if (long !== -1) return malformed(TOO_LONG).at(long); // V1.2
  const links: DelegationToken[] = [];
  for (const [hop, token] of tokens.entries()) {
    const link = getVerified(token) ?? readDelegation(token);
    if (link instanceof Refusal) return link.at(hop);
    links.push(link);
  }
  const [root] = links;
  const leaf = links.at(-1);
  if (root === undefined || leaf === undefined) return chainInvalid("the chain is empty");
  const lineage = root.claims.prf ?? [];
  if (lineage.length > MAX_LINEAGE) return longLineage().at(0);
  const depth = root.before + links.length;
  if (depth > maxDepth) return tooDeep(maxDepth).at(0);
  return { links, root, leaf, cids: links.map(({ cid }) => cid), lineage, depth };
}

function read(request: Question<"verify">): Evidence | Refusal {
  const wrong = checkQuestion(request);
  if (wrong !== undefined) return invalidRequest(wrong);
  const { invocation: text, chain: bare = [], max_depth } = request;
  const invocation = text === undefined ? undefined : readInvocation(text);
  if (invocation instanceof Refusal) return invocation;
  const chain = readChain(invocation?.claims.prf ?? bare, max_depth);
  if (chain instanceof Refusal) return chain;
  const tokens = invocation === undefined ? chain.links : [...chain.links, invocation];
  return { chain, invocation, tokens, request };
}

/** An invocation needs an audience and trusted issuers; a bare chain can be verified without. */
function checkQuestion({
  invocation,
  chain,
  trusted_issuers,
  audience,
  call,
  requested,
}: Question<"verify">): string | undefined {
  if ((invocation === undefined) === (chain === undefined))
    return "give either invocation or chain";
  if (call !== undefined && requested !== undefined) return "give either call or requested";
  if (invocation === undefined) return call && "call needs an invocation";
  if (trusted_issuers === undefined) return "an invocation is verified against trusted_issuers";
  return audience === undefined ? "an invocation is verified for an audience" : undefined;
}

/** V3.1: both parties of every token are keys; `sub` is compared with one of them later. */
function checkKeys({ tokens }: Evidence): Refusal | undefined {
  return first(tokens, ({ claims: { iss, aud } }) =>
    keyOf(iss) === undefined || keyOf(aud) === undefined
      ? malformed("iss or aud names no usable Ed25519 key", {
          field: keyOf(iss) === undefined ? "iss" : "aud",
        })
      : undefined,
  );
}

/** V3.2 */
function checkSignatureForms({ tokens }: Evidence): Refusal | undefined {
  return first(tokens, ({ signature }) => (isSignature(signature) ? undefined : badSignature()));
}

/** V4.1 */
function checkSignatures({ tokens }: Evidence): Refusal | undefined {
  return first(tokens, (token) => {
    if (isVerified(token)) return undefined;
    const { claims, signed, signature } = token;
    const key = keyOf(claims.iss);
    return key !== undefined && isSigned(signed, signature, key) ? undefined : badSignature();
  });
}

/** V4.2, V4.3: a token is good from its first second until its last has begun: start ≤ now < exp. */
function checkTimes({ tokens, request: { now, leeway } }: Evidence): Refusal | undefined {
  return first(tokens, ({ claims }) => {
    const [field, start] = "nbf" in claims ? ["nbf", claims.nbf] : ["iat", claims.iat];
    if (start > now + leeway)
      return notYetValid("the token is not valid yet by the verifier's clock", {
        field,
        wanted: `at most ${now + leeway}`,
        found: shown(start),
      });
    return claims.exp <= now - leeway
      ? expired("the token has expired", {
          field: "exp",
          wanted: `later than ${now - leeway}`,
          found: shown(claims.exp),
        })
      : undefined;
  });
}

function checkLinks({ chain: { links, root }, request }: Evidence): Refusal | undefined {
  const issuer = root.claims.iss;
  if (hasOtherSubject(root, issuer)) return subjectError(root.claims.sub, issuer).at(0);
  let held = root.constraint;
  return first(links, (link, hop) => {
    const parent = links[hop - 1];
    if (parent === undefined) return undefined;
    const refusal = checkLink(link, parent, held, issuer, request.allow_missing_prf);
    held = effectiveConstraint(held, link);
    return refusal;
  });
}

function checkUse({ chain, invocation, request }: Evidence): Refusal | undefined {
  const { audience, call, requested } = request;
  const wrong =
    invocation === undefined
      ? checkHolder(chain, audience)
      : checkClaims(invocation, chain, request);
  if (wrong !== undefined) return wrong;
  const constraint = constraintOf(chain);
  if (requested !== undefined) return checkRequested(requested, chain, constraint);
  return invocation && checkInvocation(invocation, chain, constraint, call);
}

/** V8.7 */
function checkHolder({ links, leaf }: Chain, audience: string | undefined): Refusal | undefined {
  if (audience === undefined || audience === leaf.claims.aud) return undefined;
  return audienceMismatch("the chain ends in another key", {
    field: "aud",
    wanted: shown(audience),
    found: shown(leaf.claims.aud),
  }).at(links.length - 1);
}

function verdict({ chain, invocation }: Evidence): Body<"verify"> {
  const { root, leaf, cids, lineage, depth } = chain;
  const constraint = constraintOf(chain);
  const { meta } = root.claims;
  return {
    agent: leaf.claims.aud,
    root: root.claims.iss,
    cmd: (invocation ?? leaf).claims.cmd,
    depth,
    cids,
    lineage,
    // No link ends after the one before it, and no invocation after its leaf.
    expires_at: (invocation ?? leaf).claims.exp,
    ...(constraint && { constraint }),
    ...(meta && { meta }),
    ...(invocation && {
      resource: invocation.resource,
      args: invocation.args,
      nonce: invocation.claims.nonce,
      cid: invocation.cid,
    }),
  };
}

/** The effective constraint of a whole chain. */
export function constraintOf({ links }: Chain): JsonObject | undefined {
  return links.reduce<JsonObject | undefined>(effectiveConstraint, undefined);
}

function tooDeep(maxDepth: number): Refusal {
  return chainTooDeep(`the chain with its lineage has more than ${maxDepth} delegations`);
}

function longLineage(): Refusal {
  return chainTooDeep(`the root names more than ${MAX_LINEAGE} delegations in prf`);
}
