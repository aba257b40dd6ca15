"""Whether chains hold, asked of the binary, and what each of its refusals is called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nomos._core.effects import Flow, Sign, perform
from nomos._core.parent_env import KEY_FD, KEY_FILE, KEY_HANDOVER
from nomos._core.scope import chain_audience
from nomos._protocol import Refused, Verified, Verify
from nomos.errors import (
    ChainError,
    ChainTooDeep,
    ConfigurationError,
    ExpiredChain,
    MalformedChain,
    SignerError,
    Widening,
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
    "chain_attenuation_violation": Widening,
    "resource_out_of_scope": Widening,
    "resource_mismatch": Widening,
}
"""What a refusal about a chain is raised as; its `code` is the refusal's own."""

KEY_VARIABLES: Final = f"{KEY_FD}, {KEY_HANDOVER} or {KEY_FILE}"


def verify_chain(
    parent: ParentChain, *, key: str, now: int, setting: str
) -> Flow[tuple[Verified, ...]]:
    """Return what each chain says, once the binary has checked it and that it ends in `key`.

    Who its root is, is left to the services that know their issuers. `setting` names where the
    chains come from. Raises `WrongAudience`, `ExpiredChain` or another `ChainError`.
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
            raise SignerError("the signing binary gave another answer than was asked for")
        proven.append(answer)
    return tuple(proven)


def another_key(where: str, named: str, key: str) -> WrongAudience:
    return WrongAudience(
        f"{where} is for the key {named}, and the key of this process is {key}: a chain is of "
        f"use to the one that it was handed to. Start this process with all that child.env() "
        f"returns, or hand its parent the key in {KEY_VARIABLES}",
        code="audience_mismatch",
    )


def other_service(what: str, named: str | None, audience: str) -> WrongAudience:
    """What is used at a service is for another one."""
    return WrongAudience(
        f"{what} is for {named}, not {audience}: a chain is good at the service that its first "
        f"token names, however it was handed on. Ask the control plane: "
        f"authorize(…, audience={audience!r})",
        code="audience_mismatch",
    )


def no_key(where: str, named: str) -> ConfigurationError:
    """The key that a chain ends in is not to be found."""
    return ConfigurationError(
        f"{where} is for the key {named}, which this process does not have: none of "
        f"{KEY_VARIABLES} names a key. A parent hands one over with fork_child(audience_did=None) "
        f"and child.popen(…), or is told the DID of the one that {KEY_FILE} names",
        setting=KEY_FILE,
    )


def error(refused: Refused, message: str) -> ChainError | SignerError:
    """Return what to raise for a refusal; `message` is for people."""
    called = ERROR_BY_CODE.get(refused.code)
    if called is not None:
        return called(message, code=refused.code, hop=refused.hop)
    return SignerError(message, code=refused.code, hop=refused.hop)
