"""Remedies: one sentence for each reason why a token is rejected, saying what to do next.

A remedy for a field takes precedence over that for a code: a link that ends too late and one for
another command are both `chain_attenuation_violation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

UNAVAILABLE: Final = "unavailable"
"""The code of a verifier that could not check; control planes and PDPs do not use it."""

FIXES: Final[Mapping[str, str]] = {
    "malformed_ucan": "send all of `grant.ucan`, or what `grant.headers()` returns, unchanged",
    "bad_signature": "send the token unchanged: its text was modified, or it was not signed with "
    "its issuer's key",
    "expired": "ask for a new grant",
    "not_yet_valid": "correct the clocks: the signer's is ahead of the verifier's, which can "
    "allow a leeway of up to 60 s",
    "chain_invalid": "send the chain unchanged, root first, from the agent that it was delegated "
    "to",
    "chain_too_deep": "ask the control plane for a grant instead of delegating again, or raise "
    "the verifier's max_depth (at most 32)",
    "chain_attenuation_violation": "delegate no more than the chain covers: `fork_child` refuses "
    "to sign a wider link",
    "untrusted_issuer": "ask a control plane whose issuer this service trusts, or add the issuer "
    "to the verifier's trusted_issuers",
    "revoked": "ask for a new grant; a revocation is permanent",
    "revocations_stale": "try again once the service reaches the feed of revocations; until then "
    "it cannot check tokens",
    "audience_mismatch": "ask for a grant with `audience=` the DID of the service that is called",
    "resource_out_of_scope": "call within what the grant is for, or ask for a grant of this call",
    "resource_mismatch": "make the call that was signed, or sign this one with `grant.headers()`",
    "policy_denied": "ask for what policy permits, or have the policy changed",
    "policy_error": "have the policy fixed: `nomos policy explain` shows where it fails",
    "command_unknown": "name a command that the control plane has registered",
    "step_up_required": "have a person decide, then authorize again with `cosigner_envelope_id=`",
    "approval_denied": "do something else: a person denied it, and can be asked again after 15 "
    "minutes at the earliest",
    "approval_expired": "ask again, and use the approval before it expires",
    "approval_not_found": "ask the control plane for an approval, and use the token that it signs",
    "approval_mismatch": "ask for an approval of exactly this call, at this service",
    "approval_already_used": "ask again: an approval is good for one call",
    "replayed": "sign a fresh call with `grant.headers()`: a token for a write works once",
    UNAVAILABLE: "try again later; the service's operator has to repair what does not answer",
}
"""One for every `DenyReason`, and for `unavailable`."""

BY_FIELD: Final[Mapping[tuple[str, str], str]] = {
    ("malformed_ucan", r"iss|aud"): "use an Ed25519 did:key in its one canonical form",
    ("malformed_ucan", r"typ"): "send an invocation, which is `grant.ucan` or in `grant.headers()`",
    ("chain_invalid", r"iss"): "sign the link with the key that is the audience of the link before "
    "it",
    ("chain_invalid", r"prf"): "name the link before in prf, as `fork_child` does, and leave none "
    "out",
    ("chain_invalid", r"sub"): "leave sub out of delegations, or name the issuer of the root in it",
    ("chain_invalid", r"meta\.approval"): "let each agent ask for itself: what a person approved "
    "cannot be delegated",
    ("chain_invalid", r"meta\.forkable"): "let each agent ask the control plane itself: policy "
    "distinguishes agents, so this grant is for one of them. A grant for the PDP can be delegated",
    ("audience_mismatch", r"meta\.closed"): "ask for a grant with `audience=` the DID of this "
    "service, which the control plane has registered as a service other than a PDP",
    ("chain_attenuation_violation", r"cmd"): "name the command of the link before, or one under it",
    ("chain_attenuation_violation", r"exp"): "let it end no later than the link before",
    ("chain_attenuation_violation", r"nbf"): "let it begin no earlier than the link before",
    ("chain_attenuation_violation", r"meta\.resource_constraint"): "keep every field of the "
    "resource in the link before, and only add fields",
    ("revoked", r"iss"): "ask for a new grant with a key that was not revoked",
    ("resource_out_of_scope", r"args\.resource"): "call on a resource within the grant's, or ask "
    "for a grant of this one",
    ("resource_out_of_scope", r"pol.*"): "sign a call for which this statement of the grant holds, "
    "or ask for a grant without it",
    ("resource_mismatch", r"cmd"): "call the command that was signed, or sign this one: "
    "`grant.headers(command=…)`",
    ("resource_mismatch", r"args\.resource"): "call on the resource that was signed, or sign this "
    "one: `grant.headers(resource=…)`",
    ("resource_mismatch", r"args\..*"): "send the argument that was signed, or sign this one: "
    "`grant.headers(args=…)`",
    ("resource_mismatch", r"pol.*"): "make a call for which this statement of the grant holds, or "
    "ask for a grant without it",
    ("resource_mismatch", r"resource.*|args"): "make a call that this service can understand: "
    "plain JSON, and a resource in the form of its provider",
    (UNAVAILABLE, r"replay"): "give the verifier a store of used tokens: "
    "`replay=MemoryReplayStore()` for one process, SqlReplayStore for several",
}
"""Remedies by code and by a regular expression for the whole field; the first match counts."""

Part = Literal["call", "chain", "orphan", "unsigned", "nothing", "bearer", "spaced", "key"]
"""What is wrong. `call`: an invocation. `chain`: a bare chain. `orphan`: a link whose earlier links
are missing. `unsigned`: a statement about an argument that the call does not sign. `nothing`: no
token. `bearer`: a token after `Bearer `. `spaced`: a token with white space. `key`: an API key."""

_WHOLE: Final = "send the whole chain, root first"

BY_PART: Final[Mapping[tuple[str, Part], str]] = {
    ("expired", "call"): "sign a fresh call with `grant.headers()`",
    ("audience_mismatch", "chain"): "set --audience to the DID of the chain's holder, or send an "
    "invocation, which is `grant.ucan` or in `grant.headers()`",
    ("untrusted_issuer", "orphan"): _WHOLE,
    ("chain_invalid", "orphan"): _WHOLE,
    ("resource_out_of_scope", "unsigned"): "sign the call with its arguments: "
    "`grant.headers(args={…})`",
    ("malformed_ucan", "nothing"): "use `grant.headers(command=…)`, as a grant for a prefix has "
    "no `.ucan`",
    ("malformed_ucan", "bearer"): "leave off `Bearer `",
    ("malformed_ucan", "key"): "send what `grant.headers()` returns; send an API key to the "
    "control plane only, and replace this one if others may have seen it",
    ("malformed_ucan", "spaced"): "send it on one line, without white space before, in or after it",
}
"""Remedies by code and part; they take precedence over those by field."""

API_KEY: Final = "nomos_app_"  # how an API key begins; no token begins so
MISSING: Final = "earlier links are missing"


def remedy(code: str, field: str | None = None, part: Part | None = None) -> str | None:
    """Return what to do about a refusal; None for an unknown code."""
    if part is not None and (code, part) in BY_PART:
        return BY_PART[code, part]
    return fix_at(code, field) or FIXES.get(code)


def fix_at(code: str, field: str | None) -> str | None:
    """Return what to do if this field is wrong; None if there is no special remedy for it."""
    for (known, pattern), sentence in BY_FIELD.items():
        if known == code and field is not None and re.fullmatch(pattern, field, re.DOTALL):
            return sentence
    return None


def part_at(
    code: str, hop: int | None, field: str | None, links: Sequence[Mapping[str, Any]], *, used: bool
) -> Part | None:
    """Return which part of a token is wrong; `used` is true for an invocation."""
    untrusted = code == "untrusted_issuer" or (code, field) == ("chain_invalid", "sub")
    if untrusted and hop == 0 and links and is_orphan(links[0]):
        return "orphan"
    if not used:
        return "chain"
    return "call" if hop == len(links) else None


def is_orphan(first: Mapping[str, Any]) -> bool:
    """Whether the first link that was sent says that there are links before it.

    A root that replaces other links names them in `prf`, too; its meta then has `lineage`.
    """
    issuer, root, meta = first.get("iss"), first.get("sub"), first.get("meta")
    if root is not None:
        return bool(root != issuer)
    return bool(first.get("prf")) and not (isinstance(meta, Mapping) and "lineage" in meta)
