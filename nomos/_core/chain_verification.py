"""Verification of inherited chains by the signing binary, and the errors for its refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nomos._core.effects import Flow, Sign, perform
from nomos._core.parent_env import KEY_FD, KEY_FILE, KEY_HANDOVER
from nomos._core.scope import chain_audience
from nomos._protocol import Refused, Verified, Verify
from nomos.errors import (
    AttenuationError,
    ChainError,
    ChainTooDeep,
    ConfigurationError,
    ExpiredChain,
    MalformedChain,
    SignerError,
    WrongAudience,
)
from nomos.models import ParentChain

ERROR_BY_CODE: Final[Mapping[str, type[ChainError]]] = {
    "malformed_ucan": MalformedChain,
    "bad_signature": MalformedChain,
    "chain_invalid": MalformedChain,
    "untrusted_issuer": MalformedChain,
    "expired": ExpiredChain,
    "not_yet_valid": ExpiredChain,
    "audience_mismatch": WrongAudience,
    "chain_too_deep": ChainTooDeep,
    "chain_attenuation_violation": AttenuationError,
    "resource_out_of_scope": AttenuationError,
    "resource_mismatch": AttenuationError,
}
"""The exception for each refusal about a chain; its `code` is the refusal's."""

KEY_VARIABLES: Final = f"{KEY_FD}, {KEY_HANDOVER} or {KEY_FILE}"
"""The variables that name the key of a process, as text."""


def verify_chain(
    parent: ParentChain, *, key: str, now: int, setting: str
) -> Flow[tuple[Verified, ...]]:
    """Return the content of each chain, verified by the signing binary to be delegated to `key`.

    Whether the root's issuer is trusted is not checked: only services know their issuers. `setting`
    names where the chains come from. Raises `WrongAudience`, `ExpiredChain` or another
    `ChainError`.
    """
    proven = []
    for index, chain in enumerate(parent.chains):
        where = setting if len(parent.chains) == 1 else f"{setting}[{index}]"
        if (named := chain_audience(chain)) != key:
            raise another_key(where, named, key)
        request = Verify(chain=list(chain), now=now, max_depth=parent.max_depth, audience=key)
        answer = yield from perform(Sign(request))
        if isinstance(answer, Refused):
            raise error(answer, f"{where}: {answer.message}")
        if not isinstance(answer, Verified):
            raise SignerError("unexpected response type from the signing binary")
        proven.append(answer)
    return tuple(proven)


def another_key(where: str, named: str, key: str) -> WrongAudience:
    """Return the error for a chain that was delegated to another key than this process's."""
    return WrongAudience(
        f"{where} is delegated to the key {named}, but the key of this process is {key}. Start "
        "this process with all that child.env() returns, or set one of "
        f"{KEY_VARIABLES} to the key that the chain is delegated to",
        code="audience_mismatch",
    )


def other_service(what: str, named: str | None, audience: str) -> WrongAudience:
    """Return the error for a token or chain that is for another service."""
    return WrongAudience(
        f"{what} is for {named}, not {audience}: a chain is valid only at the service that its "
        f"root names. Ask the control plane: authorize(…, audience={audience!r})",
        code="audience_mismatch",
    )


def no_key(where: str, named: str) -> ConfigurationError:
    """Return the error for a chain whose audience is a key that this process does not have."""
    return ConfigurationError(
        f"{where} is delegated to the key {named}, which this process does not have: none of "
        f"{KEY_VARIABLES} names a key. A parent passes one with fork_child(audience_did=None) "
        f"and child.popen(…), or forks with audience_did= the DID of the key in {KEY_FILE}",
        setting=KEY_FILE,
    )


def error(refused: Refused, message: str) -> ChainError | SignerError:
    """Return the exception for a refusal; `message` is for people."""
    called = ERROR_BY_CODE.get(refused.code)
    if called is not None:
        return called(message, code=refused.code, hop=refused.hop)
    return SignerError(message, code=refused.code, hop=refused.hop)
