"""`Verifier` and `AsyncVerifier`, and what a service of one's own supplies to them."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, assert_type

from nomos import AsyncVerifier, Denied, MemoryReplayStore, Verified, Verifier
from nomos.verify import RevocationStatus, VerificationReceipt, verify_receipt

CALL: dict[str, Any] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}


class View:
    """A revocation store of a service."""

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        return RevocationStatus(frozenset(ids), age_seconds=1)


class AsyncStore:
    """A replay store of a service, awaited."""

    async def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        return bool(issuer and audience and nonce and expires_at)


def settings() -> None:
    verifier = Verifier(
        trusted_issuers=["did:key:…"],
        audience="did:key:…",
        leeway=10,
        max_depth=4,
        revocations=View(),
        on_stale_revocations="refuse",
        replay=MemoryReplayStore(),
    )
    assert_type(verifier, Verifier)
    Verifier(trusted_issuers=["did:key:…"], audience="did:key:…", revocations=())
    AsyncVerifier(
        trusted_issuers=["did:key:…"], audience="did:key:…", revocations=set(), replay=AsyncStore()
    )
    with Verifier.from_control_plane(
        "https://nomos.example.com", audience="did:key:…", api_key="…", replay=MemoryReplayStore()
    ) as following:
        assert_type(following, Verifier)


def verification(verifier: Verifier, token: str) -> None:
    verified = verifier.verify(token, **CALL)
    assert_type(verified, Verified)
    assert_type(verified.agent, str)
    assert_type(verified.chain, tuple[str, ...])
    assert_type(verified.args, dict[str, Any])
    assert_type(verified.expires_at, datetime)
    assert_type(verified.receipt_id, str | None)
    bound = verifier.verify(
        token,
        command="/github/issue/list",
        resource=CALL["resource"],
        args={},
        require_signed_args=True,
    )
    assert_type(bound, Verified)
    assert_type(verifier.explain(token), str)
    assert_type(verifier.audience, str)


async def verification_awaited(verifier: AsyncVerifier, token: str) -> None:
    assert_type(await verifier.verify(token, **CALL), Verified)
    assert_type(await verifier.explain(token, **CALL), str)
    async with AsyncVerifier.from_control_plane(
        "https://nomos.example.com", audience="did:key:…"
    ) as following:
        assert_type(following, AsyncVerifier)


def records(denied: Denied) -> None:
    if denied.receipt_jwt is not None:
        record = verify_receipt(denied.receipt_jwt, issuers=["did:key:…"])
        assert_type(record, VerificationReceipt)
        assert_type(record.allowed, bool)
        assert_type(record.is_about(**CALL), bool)
