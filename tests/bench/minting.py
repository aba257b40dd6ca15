"""A delegation signed by the binary, beside one signed in this process by `cryptography`."""

from __future__ import annotations

import base64
import hashlib
import json
import time

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from figures import in_turn, table

from nomos._io.signer import AsyncSigner, Signer, shared
from nomos._protocol import Delegate, Delegation, Hello, LoadKey, LoadKeyAnswer, Signed

SEED = "00" * 31 + "01"
HEADER = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"JWT","ucv":"1.0.0-cb"}').rstrip(b"=")


def payload(issuer: str) -> Delegation:
    now = int(time.time())
    resource = {"provider": "github", "owner": "acme", "repo": "app"}
    return Delegation(
        iss=issuer,
        aud=issuer,
        sub=issuer,
        cmd="/github/issue/list",
        pol=[["==", ".cmd", "/github/issue/list"]],
        nonce="0123456789abcdef",
        nbf=now - 60,
        exp=now + 300,
        meta={
            "resource_constraint": resource,
            "receipt_id": "evt_0",
            "facts": {"bundle": "0" * 64},
        },
    )


def main() -> None:
    signer = Signer(shared())
    loaded = signer.ask(LoadKey(seed=SEED))
    assert isinstance(loaded, LoadKeyAnswer)
    request = Delegate(key=loaded.key, payload=payload(loaded.key))
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
    content = request.payload.model_dump(mode="json")

    def binary() -> str:
        signed = signer.ask(request)
        assert isinstance(signed, Signed)
        return signed.jwt

    def in_process() -> str:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        body = HEADER + b"." + base64.urlsafe_b64encode(text.encode()).rstrip(b"=")
        jwt = body + b"." + base64.urlsafe_b64encode(key.sign(body)).rstrip(b"=")
        hashlib.sha256(jwt).hexdigest()
        return jwt.decode()

    assert binary() == in_process()
    taken = in_turn(3000, in_process, binary, lambda: signer.ask(Hello()))
    names = [
        "in-process cryptography, same bytes",
        "nomos-ucan delegate",
        "  of which the way there and back",
    ]
    table("one at a time", names, taken)
    print(f"\nfifty tasks at a time: {anyio.run(many, request) * 1e6:.0f} µs a delegation")


async def many(request: Delegate, count: int = 5000) -> float:
    signer, began = AsyncSigner(shared()), time.perf_counter()

    async def work() -> None:
        for _ in range(count // 50):
            await signer.ask(request)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(work)
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
