"""A text of the maximum size is bound by its digest, as the README shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import anyio
import httpx
import pytest

from nomos import AsyncAuthGuard, AuthGuard
from nomos.errors import InvalidRequest

POLICY = """
permit(principal, action in Action::"/filesystem", resource is Filesystem);
permit(principal, action in Action::"/github", resource is Github);
"""
WRITE = "/filesystem/file/write"
MIB = 1024 * 1024
TEXT = "0123456789abcde\n" * (MIB // 16)


@pytest.fixture(scope="module")
def guard() -> Iterator[AuthGuard]:
    with AuthGuard.embedded(policies=POLICY) as guard:
        yield guard


def put(guard: AuthGuard | AsyncAuthGuard, note: dict[str, str], headers: dict[str, str]) -> int:
    reply = httpx.put(f"{guard.pdp_url}{WRITE}", json=note, headers=headers, timeout=60)
    return reply.status_code


def test_a_mebibyte_is_bound_by_digest_and_written(guard: AuthGuard) -> None:
    note = {"path": "long.md", "content": TEXT}
    resource = {"provider": "filesystem", "path": note["path"]}
    grant = guard.authorize(command=WRITE, resource=resource, args={"content": TEXT})
    assert grant
    other = {**note, "content": TEXT[:-1] + "!"}
    assert put(guard, other, grant.headers(args={"content": TEXT})) == 403
    assert put(guard, note, grant.require().headers()) == 200
    reply = httpx.get(
        f"{guard.pdp_url}/filesystem/file/read",
        params={"path": note["path"]},
        headers=guard.authorize(command="/filesystem/file/read", resource=resource).headers(),
    )
    assert reply.json()["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()


def test_the_async_guard_binds_and_writes_a_mebibyte(guard: AuthGuard) -> None:
    async def write() -> int:
        async with AsyncAuthGuard(
            control_plane_url=guard.control_plane_url,
            api_key=guard.api_key,
            pdp_url=guard.pdp_url,
        ) as other:
            note = {"path": "async.md", "content": TEXT}
            grant = await other.authorize(
                command=WRITE,
                resource={"provider": "filesystem", "path": note["path"]},
                args={"content": TEXT},
            )
            return put(other, note, await grant.headers())

    assert anyio.run(write) == 200


def test_a_text_that_is_not_bound_by_digest_is_refused_with_its_name(guard: AuthGuard) -> None:
    with pytest.raises(InvalidRequest, match=r"args.title"):
        guard.authorize(
            command="/github/issue/create",
            resource={"provider": "github", "owner": "acme", "repo": "app"},
            args={"title": "x" * 20_000},
        )


def test_another_client_gets_advice_how_to_send_it(guard: AuthGuard) -> None:
    body = {
        "command": WRITE,
        "resource": {"provider": "filesystem", "path": "f"},
        "args": {"content": TEXT[:20_000]},
    }
    assert guard.api_key is not None
    key = guard.api_key if isinstance(guard.api_key, str) else guard.api_key.reveal()
    reply = httpx.post(
        f"{guard.control_plane_url}/v1/authorize",
        json=body,
        headers={"authorization": f"Bearer {key}"},
    )
    assert reply.status_code == 400
    assert 'Send content as {"sha256": ' in reply.json()["error"]
