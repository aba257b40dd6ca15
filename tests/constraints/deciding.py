"""The real binary's answers: whether a call passes, and whether a policy is signed or forked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from nomos._io.signer import Signer, shared
from nomos._protocol import (
    Answer,
    Call,
    CheckPolicy,
    Delegate,
    Delegation,
    Fork,
    ForkAnswer,
    ForkChild,
    ForkLink,
    GenerateKey,
    GenerateKeyAnswer,
    Invocation,
    Invoke,
    PolicyChecked,
    Refused,
    Signed,
    Verified,
    Verify,
)

NOW: Final = 1_800_000_000
COMMAND: Final = "/mail/send"
RESOURCE: Final[Mapping[str, Any]] = {"provider": "mail", "owner": "acme"}


@cache
def keys() -> tuple[Signer, str, str, str]:
    """A signer, and the keys of an issuer, an agent and a service."""
    signer = Signer(shared())
    made = []
    for _ in range(3):
        answer = signer.ask(GenerateKey())
        assert isinstance(answer, GenerateKeyAnswer)
        made.append(answer.key)
    issuer, agent, service = made
    return signer, issuer, agent, service


def signed(pol: Sequence[Any], *, allow_vacuous: bool = False) -> Answer | Refused:
    """What comes of asking for a delegation with this policy."""
    signer, issuer, agent, service = keys()
    payload = Delegation(
        iss=issuer,
        aud=agent,
        sub=issuer,
        cmd=COMMAND,
        pol=list(pol),
        nonce="decided-once",
        nbf=NOW - 60,
        exp=NOW + 300,
        meta={"audience": service, "closed": True},
    )
    return signer.ask(Delegate(key=issuer, payload=payload, allow_vacuous=allow_vacuous))


def vacuous(pol: Sequence[Any]) -> str | None:
    """Why the statements may hold vacuously, as `check_policy` says; None if they may not."""
    answer = keys()[0].ask(CheckPolicy(pol=list(pol)))
    if isinstance(answer, PolicyChecked):
        assert answer.pol == list(pol)
        return None
    assert isinstance(answer, Refused)
    assert answer.code == "vacuous_policy", answer
    return answer.message


def delegation(pol: Sequence[Any], *, allow_vacuous: bool = False) -> str:
    answer = signed(pol, allow_vacuous=allow_vacuous)
    assert isinstance(answer, Signed), answer
    return answer.jwt


def passes(link: str, args: Mapping[str, Any], resource: Mapping[str, Any] = RESOURCE) -> bool:
    """Whether the binary lets the holder of a delegation make this call."""
    signer, issuer, agent, service = keys()
    payload = Invocation(
        iss=agent,
        aud=service,
        sub=issuer,
        cmd=COMMAND,
        args={"resource": dict(resource), **args},
        nonce="decided-once",
        iat=NOW - 60,
        exp=NOW + 30,
        prf=[link],
    )
    token = signer.ask(Invoke(key=agent, payload=payload))
    assert isinstance(token, Signed), token
    verified = signer.ask(
        Verify(
            invocation=token.jwt,
            now=NOW,
            trusted_issuers=[issuer],
            audience=service,
            call=Call(cmd=COMMAND, resource=dict(resource), args=dict(args)),
        )
    )
    if isinstance(verified, Verified):
        return True
    assert isinstance(verified, Refused)
    assert verified.code == "resource_out_of_scope", verified
    return False


def exceeds(requested: Sequence[Any], held: Sequence[Any]) -> bool:
    """Whether a fork is refused because these statements permit more than those of the chain."""
    signer, _, agent, service = keys()
    link = ForkLink(cmd=COMMAND, pol=list(requested), nonce="decided-once")
    answer = signer.ask(
        Fork(
            key=agent,
            chains=[[delegation(held, allow_vacuous=True)]],
            children=[ForkChild(aud=service, links=[link])],
            now=NOW,
            allow_vacuous=True,
        )
    )
    if isinstance(answer, ForkAnswer):
        return False
    assert isinstance(answer, Refused)
    assert answer.code == "chain_attenuation_violation", answer
    assert answer.requested
    assert answer.statement
    return True
