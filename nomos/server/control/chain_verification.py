"""Chains that come with a request: read, proven, and held against what is asked.

Reading believes nothing; it is for knowing what to look up among revocations. The binary decides
what a chain proves and whether a question lies within it. What it finds wrong is an answer, not
a failure: a `ChainFault`. A binary or a database that gives no answer raises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

from nomos._protocol import Inspect, Inspected, Refused, Verified, Verify, Wanted
from nomos.errors import SignerError
from nomos.models import DenyReason, VerificationCode
from nomos.server.control.context import Context
from nomos.server.domain import lineage
from nomos.server.domain.delegation import MAX_LINEAGE, ChainFault, HeldCapability
from nomos.server.domain.lineage import mapping
from nomos.server.domain.partial_eval import KnownCall, first_false, known
from nomos.server.domain.request import CanonicalRequest

JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
CODES: Final[dict[str, DenyReason]] = {code: code for code in get_args(VerificationCode)}

MAX_SHOWN: Final = 200
"""Characters of a statement in a sentence."""


@dataclass(frozen=True)
class ClaimedChain:
    """A chain that was read and not believed, root first, with the invocation that came with it."""

    tokens: tuple[str, ...] = field(repr=False)
    links: tuple[Inspected, ...]
    invocation: Inspected | None = None
    text: str | None = field(default=None, repr=False)

    @property
    def ids(self) -> frozenset[str]:
        """What must not be revoked for this to be honoured."""
        tokens = self.links if self.invocation is None else (*self.links, self.invocation)
        return frozenset(lineage.revocation_ids(tokens, self.links))


async def read(ports: Context, tokens: Sequence[str]) -> ClaimedChain | ChainFault:
    """Read the delegations of a chain."""
    if len(tokens) > ports.max_chain_depth:
        most = f"the chain has more than {ports.max_chain_depth} delegations"
        return ChainFault("chain_too_deep", most)
    links: list[Inspected] = []
    for hop, token in enumerate(tokens):
        found = await inspect(ports, token, "delegation")
        if isinstance(found, ChainFault):
            return ChainFault(found.reason, f"{found.message} (hop {hop})")
        links.append(found)
    return ClaimedChain(tuple(tokens), tuple(links))


async def inspect(ports: Context, token: str, kind: str) -> Inspected | ChainFault:
    """Read one token, which must be of that kind."""
    if not JWT.fullmatch(token):
        return ChainFault("malformed_ucan", "this is not three base64url parts joined by dots")
    answer = await ports.signer.ask(Inspect(token=token))
    if isinstance(answer, Refused):
        return _fault(answer, None)
    if not isinstance(answer, Inspected):
        raise SignerError("the signing binary answered another question")
    if answer.kind != kind:
        return ChainFault("malformed_ucan", f"this is no {kind}, but a token of another kind")
    return answer


async def prove(
    ports: Context, claims: ClaimedChain, tenant: str, audience: str | None
) -> HeldCapability | ChainFault:
    """Verify a chain of the tenant's, which ends in `audience`; or the invocation made on it.

    With an invocation, `audience` is whom that is for. The chain's policies are not evaluated:
    they are signed into what is granted on it.
    """
    now, ids = int(ports.clock()), claims.ids
    revoked = await ports.store.revoked(ids)
    bare = claims.text is None
    verified = await verify(
        ports,
        claims,
        tenant,
        Verify(
            chain=list(claims.tokens) if bare else None,
            invocation=claims.text,
            now=now,
            max_depth=ports.max_chain_depth,
            trusted_issuers=_trusted(ports, tenant),
            audience=audience,
            revoked=sorted(revoked),
            wanted=None if bare else _all_of_it(claims),
        ),
    )
    if isinstance(verified, ChainFault):
        return verified
    return _over(claims, verified, ids, revoked, now)


async def verify_while_valid(
    ports: Context, claims: ClaimedChain, tenant: str
) -> HeldCapability | ChainFault:
    """Verify a chain as it was while all of its links were valid, whatever was revoked since."""
    times = [(int(each.payload["nbf"]), int(each.payload["exp"])) for each in claims.links]
    last = min(end for _, end in times) - 1
    verified = await verify(
        ports,
        claims,
        tenant,
        Verify(
            chain=list(claims.tokens),
            now=min(int(ports.clock()), last),
            max_depth=ports.max_chain_depth,
            trusted_issuers=_trusted(ports, tenant),
        ),
    )
    if isinstance(verified, ChainFault):
        return verified
    return _held(claims, verified, claims.ids)


async def check_attenuation(
    ports: Context, held: HeldCapability, asked: CanonicalRequest, tenant: str
) -> ChainFault | None:
    """Return why what is asked is not in what is held; None if it is."""
    root = held.descent.root
    if len(held.descent.cids) > MAX_LINEAGE:
        many = f"the chain takes the place of more than {MAX_LINEAGE} delegations"
        return ChainFault("chain_too_deep", many, root)
    answer = await ports.signer.ask(
        Verify(
            chain=list(held.tokens),
            now=int(ports.clock()),
            max_depth=ports.max_chain_depth,
            trusted_issuers=_trusted(ports, tenant),
            wanted=Wanted(cmd=asked.command, resource=asked.resource),
        )
    )
    if isinstance(answer, Refused):
        return _fault(answer, root)
    for command in asked.commands or (asked.command,):
        statement = first_false(held.pol, known(asked, command))
        if statement is not None:
            return _excluded(command, statement, root)
    return None


async def verify(
    ports: Context, claims: ClaimedChain, tenant: str, question: Verify
) -> Verified | ChainFault:
    """Have the binary decide on a chain that was read."""
    answer = await ports.signer.ask(question)
    if isinstance(answer, Refused):
        sender = claims.links[-1] if claims.invocation is None else claims.invocation
        trusted = dict.fromkeys(question.trusted_issuers or (), tenant)
        fault = _fault(answer, None)
        found = lineage.sender(fault.reason, sender, claims.links, trusted)
        return replace(fault, root=found.root if found else None)
    # A link other than those that were read would have escaped its revocation.
    if not isinstance(answer, Verified) or answer.cids != [link.cid for link in claims.links]:
        raise SignerError("the signing binary verified another chain")
    return answer


def _over(
    claims: ClaimedChain, verified: Verified, ids: frozenset[str], revoked: frozenset[str], now: int
) -> HeldCapability | ChainFault:
    """What the binary leaves to us: apps and approvals that were revoked, and exact times."""
    held = _held(claims, verified, ids)
    root = held.descent.root
    if revoked:
        return ChainFault("revoked", f"revoked: {', '.join(sorted(revoked))}", root)
    if held.expires_at <= now:
        return ChainFault("expired", "the chain has expired", root)
    if held.starts_at > now:
        return ChainFault("not_yet_valid", "the chain is not valid yet by the server's clock", root)
    return held


def _held(claims: ClaimedChain, verified: Verified, ids: frozenset[str]) -> HeldCapability:
    return HeldCapability(
        links=claims.links,
        tokens=claims.tokens,
        descent=lineage.lineage_of(verified, claims.links),
        constraint=verified.constraint,
        ids=ids,
    )


def _trusted(ports: Context, tenant: str) -> list[str]:
    """The keys that may have signed the tenant's roots; read afresh, for they change."""
    return sorted(did for did, whose in ports.key_log.trusted.items() if whose == tenant)


def _all_of_it(claims: ClaimedChain) -> Wanted:
    """All that a chain claims to give: who only shows who they are asks for nothing else."""
    constraint: dict[str, Any] = {}
    for link in claims.links:
        constraint = mapping(link.payload.get("meta")).get("resource_constraint", constraint)
    return Wanted(cmd=claims.links[-1].payload["cmd"], resource=constraint)


def _fault(refused: Refused, root: str | None) -> ChainFault:
    reason = CODES.get(refused.code)
    if reason is None:
        raise SignerError(
            f"the signing binary refused to verify: {refused.code}", code=refused.code
        )
    where = "" if refused.hop is None else f" (hop {refused.hop})"
    return ChainFault(reason, f"{refused.message}{where}", root)


def _excluded(command: str, statement: Any, root: str) -> ChainFault:
    whatever = first_false([statement], KnownCall(command, {}))
    text = str(statement)
    shown = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
    return ChainFault(
        "resource_out_of_scope" if whatever is None else "chain_attenuation_violation",
        f"a policy of the chain leaves this out of {command}: {ascii(shown)[1:-1]}",
        root,
    )
