"""What a type checker must report. Each line would let something through, or fail, at run time."""

# mypy: enable-error-code="truthy-bool"

from nomos import (
    AsyncAuthGuard,
    AsyncGrant,
    AsyncVerifier,
    AuthGuard,
    Chain,
    Child,
    Denied,
    Grant,
    Verified,
    Verifier,
    webhooks,
)
from nomos.constraints import eq, one_of
from nomos.integrations.fastapi import Rule, requires

APP = {"provider": "github", "owner": "acme", "repo": "app"}


async def a_forgotten_await(
    guard: AsyncAuthGuard, grant: AsyncGrant, verifier: AsyncVerifier
) -> None:
    if guard.authorize(command="/a/b", resource=APP):  # type: ignore[truthy-bool]
        return
    asked = guard.authorize(command="/github/issue/list", resource=APP)
    asked.decision  # type: ignore[attr-defined]
    asked.require()  # type: ignore[attr-defined]
    if asked == "allow":  # type: ignore[comparison-overlap]
        return
    verified = verifier.verify("…", command="/github/issue/list", resource=APP)
    verified.agent  # type: ignore[attr-defined]
    headers: dict[str, str] = grant.headers()  # type: ignore[assignment]
    guard.close()  # type: ignore[unused-coroutine]
    guard.revoke("app_…")  # type: ignore[unused-coroutine]


async def a_needless_await(guard: AuthGuard) -> None:
    await guard.authorize(command="/github/issue/list", resource=APP)  # type: ignore[misc]


def the_wrong_kind_of_with(guard: AsyncAuthGuard) -> None:
    with guard:  # type: ignore[attr-defined]
        pass


async def the_other_wrong_kind_of_with(guard: AuthGuard) -> None:
    async with guard:  # type: ignore[attr-defined]
        pass


def wrong_keywords(guard: AuthGuard, grant: Grant, verifier: Verifier) -> None:
    guard.authorize("/github/issue/list", APP)  # type: ignore[call-arg]
    guard.authorize(command="/github/issue/list")  # type: ignore[call-arg]
    guard.authorize(command="/a/b", resource=APP, ttl=60)  # type: ignore[call-arg]
    guard.authorize(command="/a/b", resource=APP, ttl_seconds="60")  # type: ignore[arg-type]
    guard.authorize(command="/a/b", resource=APP, constraints="n is 1")  # type: ignore[arg-type]
    guard.fork_child(capability=[])  # type: ignore[call-arg]
    grant.headers("/github/issue/list")  # type: ignore[call-arg]
    verifier.verify("…", command="/a/b")  # type: ignore[call-arg]
    verifier.verify("…", command="/a/b", resource=APP, require_signed_args="yes")  # type: ignore[arg-type]
    AuthGuard("https://nomos.example.com")  # type: ignore[call-arg]
    AuthGuard(control_plane_url="https://…", failure_mode="closd")  # type: ignore[arg-type]
    Verifier(audience="did:key:…")  # type: ignore[call-arg]
    guard.approvals.decide("env_…")  # type: ignore[call-arg]


def values_that_only_a_check_makes(verified: Verified, chain: Chain) -> None:
    Verified(agent="did:key:…")  # type: ignore[arg-type]
    Grant(decision="allow")  # type: ignore[arg-type]
    Child("did:key:…")  # type: ignore[arg-type]
    Chain(["a.b.c"])  # type: ignore[arg-type]
    webhooks.Event(id="1")  # type: ignore[arg-type]


def wrong_values(grant: Grant, denied: Denied) -> None:
    if grant.decision == "allowed":  # type: ignore[comparison-overlap]
        return
    denied.reason  # type: ignore[attr-defined]
    eq(1, "open")  # type: ignore[arg-type]
    one_of("state", 1)  # type: ignore[arg-type]
    webhooks.verify({}, "body", "secret")  # type: ignore[arg-type]
    requires("/github/issue/list")  # type: ignore[call-arg]
    Rule("GET", "/issues", command="/github/issue/list", resource="app")  # type: ignore[arg-type]
