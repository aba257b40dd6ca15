"""Receipts of verification: one for every decision, verified by a third party."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from vectors.forge import (
    CHECKPOINT,
    ISSUER,
    NOW,
    PLANNER,
    RESEARCHER,
    SERVICE,
    UNRELATED,
    canonical,
    checkpoint,
    child,
    cid,
    flip,
    root,
    sign,
    unb64,
    use,
    with_signature,
)
from verifiers import (
    LINKS,
    READ,
    RESOURCE,
    SYNC,
    TO_WRITE,
    TOKEN,
    VERIFIER_KINDS,
    WRITE,
    VerifierKind,
    key_file,
    replay,
    settings,
)

from nomos import Verifier
from nomos._core import verification_receipt
from nomos._core.call import RequestedCall
from nomos._core.verification_receipt import FIX, ReceiptSigner
from nomos._io.signer import Signer, shared
from nomos._protocol import ForgetKey, Hello, HelloAnswer
from nomos._sealed import make
from nomos.errors import ConfigurationError, Denied, SignerError
from nomos.models import Secret
from nomos.verify import VerificationReceipt, verify_receipt

ARGS: Final = {"state": "open"}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path)


def read(text: str | None) -> VerificationReceipt:
    assert text is not None
    return verify_receipt(text, issuers=[SERVICE.did])


def sha256(value: object) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def payload(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(unb64(text.split(".")[1]))
    return found


def test_an_allow_has_a_receipt_with_call_and_chain(verifier_kind: VerifierKind, key: Path) -> None:
    token = use(list(LINKS), args={"resource": RESOURCE, **ARGS})
    verified = verifier_kind.verify(token, {**READ, "args": ARGS}, receipt_key=key)
    record = read(verified.receipt_jwt)
    assert record == make(
        VerificationReceipt,
        issuer=SERVICE.did,
        service=SERVICE.did,
        command="/github/issue/list",
        resource_hash=sha256(RESOURCE),
        args_hash=sha256(ARGS),
        outcome="allow",
        hop=None,
        agent=RESEARCHER.did,
        root=ISSUER.did,
        chain=tuple(map(cid, LINKS)),
        invocation=cid(token),
        at=record.at,
        cid=cid(str(verified.receipt_jwt)),
    )
    assert (record.at.timestamp(), record.allowed) == (NOW, True)
    assert (record.chain, record.agent) == (verified.chain, verified.agent)


def test_a_receipt_is_compared_with_a_call(key: Path) -> None:
    token = use(list(LINKS), args={"resource": RESOURCE, **ARGS})
    record = read(SYNC.verify(token, {**READ, "args": ARGS}, receipt_key=key).receipt_jwt)
    assert record.is_about(**READ, args=ARGS)
    # The hash is of the canonical resource, so another spelling of it is the same one.
    assert record.is_about(
        command=READ["command"], resource={**RESOURCE, "owner": "ACME"}, args=ARGS
    )
    for other in (
        {**READ},
        {**READ, "args": {"state": "closed"}},
        {**READ, "args": {**ARGS, "page": 1}},
        {**READ, "args": ARGS, "command": "/github/issue/get"},
        {**READ, "args": ARGS, "resource": {**RESOURCE, "repo": "other"}},
        {**READ, "args": {"state": float("nan")}},
    ):
        assert not record.is_about(**other)


REFUSED: Final[dict[str, tuple[str, dict[str, Any], Mapping[str, Any]]]] = {
    "expired": (use(list(LINKS), exp=NOW), {}, READ),
    "not_yet_valid": (use(list(LINKS), iat=NOW + 9), {}, READ),
    "chain_invalid": (use([root(), child("x")]), {}, READ),
    "chain_attenuation_violation": (use([root(), child(root(), cmd="/gitlab")]), {}, READ),
    "untrusted_issuer": (TOKEN, {"trusted_issuers": [UNRELATED.did]}, READ),
    "revoked": (TOKEN, {"revocations": [cid(LINKS[0])]}, READ),
    "audience_mismatch": (TOKEN, {"audience": UNRELATED.did}, READ),
    "resource_mismatch": (TOKEN, {}, {**READ, "resource": {**RESOURCE, "repo": "other"}}),
    "unavailable": (TO_WRITE, {}, WRITE),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_has_a_receipt_with_the_signer(
    verifier_kind: VerifierKind, key: Path, code: str
) -> None:
    token, changes, call = REFUSED[code]
    denied = verifier_kind.denied(token, call, receipt_key=key, **changes)
    record = read(denied.receipt_jwt)
    assert (denied.code, record.outcome, record.hop) == (code, code, denied.hop)
    assert (record.agent, record.root) == (RESEARCHER.did, ISSUER.did)
    assert record.invocation == cid(token)
    assert len(record.chain) == 2
    assert record.resource_hash == sha256(call["resource"])
    assert not record.allowed


def test_a_replay_has_a_receipt_of_each_verification(
    verifier_kind: VerifierKind, key: Path
) -> None:
    store = replay()
    first = read(verifier_kind.verify(TO_WRITE, WRITE, receipt_key=key, replay=store).receipt_jwt)
    again = read(verifier_kind.denied(TO_WRITE, WRITE, receipt_key=key, replay=store).receipt_jwt)
    assert (first.outcome, again.outcome) == ("allow", "replayed")
    assert first.invocation == again.invocation


UNSIGNED: Final = {
    "a flipped signature": with_signature(TOKEN, flip),
    "a link with a flipped signature": use([with_signature(LINKS[0], flip), LINKS[1]]),
    "a link by somebody else": use([LINKS[0], sign({"alg": "EdDSA"}, {"iss": "x"}, UNRELATED)]),
    "no token": "not.a.token",
    "nothing": "",
    "no text": "\ud800",
    "a receipt": sign(CHECKPOINT, {"iss": PLANNER.did}, PLANNER),
    "too deep": use([LINKS[0]] * 9),
}


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_receipt_of_an_unsigned_token_names_no_agent(
    verifier_kind: VerifierKind, key: Path, name: str
) -> None:
    denied = verifier_kind.denied(UNSIGNED[name], receipt_key=key)
    record = read(denied.receipt_jwt)
    assert (record.agent, record.root) == (None, None)
    assert record.outcome == denied.code
    assert record.service == SERVICE.did


def test_a_receipt_of_an_empty_chain_names_no_agent(key: Path) -> None:
    denied = SYNC.denied(use([]), receipt_key=key)
    record = read(denied.receipt_jwt)
    assert (denied.code, record.agent, record.chain) == ("chain_invalid", None, ())
    assert record.invocation == cid(use([]))


def test_a_call_that_is_no_json_has_a_receipt_without_its_hash(
    verifier_kind: VerifierKind, key: Path
) -> None:
    call = {**READ, "args": {"state": float("inf")}}
    record = read(verifier_kind.denied(TOKEN, call, receipt_key=key).receipt_jwt)
    assert (record.outcome, record.resource_hash, record.args_hash) == (
        "resource_mismatch",
        None,
        None,
    )
    assert not record.is_about(**call)


def test_without_a_key_there_is_no_receipt(verifier_kind: VerifierKind) -> None:
    assert verifier_kind.verify(TOKEN).receipt_jwt is None
    assert verifier_kind.denied("x").receipt_jwt is None


def test_receipts_contain_no_token_and_are_not_in_reprs(key: Path) -> None:
    token = use(list(LINKS), args={"resource": RESOURCE, "secret": "hunter2"})
    verified = SYNC.verify(token, {**READ, "args": {"secret": "hunter2"}}, receipt_key=key)
    denied = SYNC.denied(token, {**READ, "args": {"secret": "hunter3"}}, receipt_key=key)
    for text, shown in ((verified.receipt_jwt, repr(verified)), (denied.receipt_jwt, repr(denied))):
        assert text is not None
        assert text not in shown
        said = json.dumps(payload(text))
        assert [each for each in ("hunter", "eyJ", SERVICE.seed) if each in said] == []
    assert SERVICE.seed not in repr(ReceiptSigner(Secret(SERVICE.seed)))
    assert "record" not in repr(verified)


def test_a_refusal_keeps_its_receipt_when_it_is_pickled(key: Path) -> None:
    denied = SYNC.denied("x", receipt_key=key)
    again = pickle.loads(pickle.dumps(denied))
    assert (again.receipt_jwt, again.code) == (denied.receipt_jwt, "malformed_ucan")


# The third party


def test_pyjwt_reads_and_verifies_a_receipt(key: Path) -> None:
    text = str(SYNC.verify(TOKEN, receipt_key=key).receipt_jwt)
    assert jwt.get_unverified_header(text) == {"alg": "EdDSA", "typ": "nomos-receipt+jwt"}
    decoded = jwt.decode(
        text, SERVICE.private.public_key(), algorithms=["EdDSA"], options={"verify_iat": False}
    )
    assert decoded == payload(text)
    assert decoded["outcome"] == "allow"
    assert decoded["invocation"] == cid(TOKEN)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(text, ISSUER.private.public_key(), algorithms=["EdDSA"])


def test_another_process_verifies_it_offline(key: Path, tmp_path: Path) -> None:
    file = tmp_path / "receipt"
    file.write_text(str(SYNC.verify(TOKEN, receipt_key=key).receipt_jwt))
    code = (
        "import sys; from pathlib import Path; from nomos.verify import verify_receipt\n"
        "print(verify_receipt(Path(sys.argv[1]).read_text(), issuers=[sys.argv[2]]).outcome)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file, SERVICE.did],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ},
    )
    assert done.stdout == "allow\n"


def test_every_changed_character_is_detected(key: Path) -> None:
    text = str(SYNC.verify(TOKEN, receipt_key=key).receipt_jwt)
    for index in range(0, len(text), 7):
        other = "A" if text[index] != "A" else "B"
        with pytest.raises(Denied):
            verify_receipt(text[:index] + other + text[index + 1 :], issuers=[SERVICE.did])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "malformed_ucan"),
        ("é", "malformed_ucan"),
        (None, "malformed_ucan"),
        (b"x", "malformed_ucan"),
        (TOKEN, "malformed_ucan"),
        (LINKS[0], "malformed_ucan"),
        (checkpoint(), "malformed_ucan"),
        ("a" * 70_000, "malformed_ucan"),
        ("a" * 2_000_000, "malformed_ucan"),
    ],
)
def test_text_that_is_no_receipt_is_refused(text: Any, code: str) -> None:
    with pytest.raises(Denied) as denied:
        verify_receipt(text, issuers=[SERVICE.did, ISSUER.did])
    assert denied.value.code == code
    assert denied.value.fix == FIX


def test_a_receipt_of_an_untrusted_issuer_is_refused(key: Path) -> None:
    text = str(SYNC.verify(TOKEN, receipt_key=key).receipt_jwt)
    with pytest.raises(Denied) as denied:
        verify_receipt(text, issuers=[ISSUER.did])
    assert (denied.value.code, denied.value.fix) == ("untrusted_issuer", FIX)
    for no_issuers in ([], "", SERVICE.did, ["x"], None):
        with pytest.raises(ConfigurationError) as wrong:
            verify_receipt(text, issuers=no_issuers)  # type: ignore[arg-type]
        assert wrong.value.setting == "issuers"


def test_a_receipt_is_refused_as_a_token(key: Path) -> None:
    text = str(SYNC.verify(TOKEN, receipt_key=key).receipt_jwt)
    assert SYNC.denied(text).code == "malformed_ucan"
    assert SYNC.denied(use([text])).code == "malformed_ucan"


# on_receipt


def test_on_receipt_gets_each_receipt_once(verifier_kind: VerifierKind, key: Path) -> None:
    received: list[str] = []
    verified = verifier_kind.verify(TOKEN, receipt_key=key, on_receipt=received.append)
    denied = verifier_kind.denied("x", receipt_key=key, on_receipt=received.append)
    assert received == [verified.receipt_jwt, denied.receipt_jwt]


@pytest.mark.parametrize("verifier_kind", VERIFIER_KINDS[1:], ids=lambda kind: kind.name)
def test_on_receipt_may_be_async_for_the_async_verifier(
    verifier_kind: VerifierKind, key: Path
) -> None:
    received: list[str] = []

    async def listen(text: str) -> None:
        received.append(text)

    verified = verifier_kind.verify(TOKEN, receipt_key=key, on_receipt=listen)
    assert received == [verified.receipt_jwt]


class Listening:
    """Something to call that has to be awaited, and does not look so."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def __call__(self, text: str) -> None:
        self.received.append(text)


def test_an_async_on_receipt_is_refused_by_the_sync_verifier(
    verifier_kind: VerifierKind, key: Path
) -> None:
    listening = Listening()
    if verifier_kind.backend is None:
        with pytest.raises(ConfigurationError, match="AsyncVerifier"):
            verifier_kind.make(receipt_key=key, on_receipt=listening)
    else:
        verified = verifier_kind.verify(TOKEN, receipt_key=key, on_receipt=listening)
        assert listening.received.pop() == verified.receipt_jwt
    with pytest.raises((ConfigurationError, TypeError), match=r"AsyncVerifier|asynchronous"):
        verifier_kind.verify(TOKEN, receipt_key=key, on_receipt=lambda text: listening(str(text)))
    assert listening.received == []


def test_a_failing_on_receipt_refuses_an_allow(verifier_kind: VerifierKind, key: Path) -> None:
    def full(_: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        verifier_kind.verify(TOKEN, receipt_key=key, on_receipt=full)
    denied = verifier_kind.denied("x", receipt_key=key, on_receipt=full)
    assert denied.code == "malformed_ucan"
    assert isinstance(denied.__cause__, OSError)
    assert denied.receipt_jwt is not None


def test_an_allow_whose_receipt_cannot_be_signed_is_refused(
    verifier_kind: VerifierKind, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A binary that refuses to sign, as one of another version would."""
    monkeypatch.setattr(verification_receipt, "SignReceipt", lambda **_: Hello())
    with pytest.raises(SignerError, match="could not be signed"):
        verifier_kind.verify(TOKEN, receipt_key=key)
    denied = verifier_kind.denied("x", receipt_key=key)
    assert (denied.code, denied.receipt_jwt) == ("malformed_ucan", None)
    assert isinstance(denied.__cause__, SignerError)


def test_a_binary_that_does_not_take_the_key_allows_nothing(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification_receipt, "LoadKey", lambda **_: Hello())
    with pytest.raises(SignerError, match="did not load the receipt key"):
        SYNC.verify(TOKEN, receipt_key=key)


def test_an_answer_of_another_type_is_no_receipt() -> None:
    other = HelloAnswer(id=1, version="1", speaks=1, runtime="x", ops=[])
    with pytest.raises(SignerError, match="unexpected response type"):
        verification_receipt.parse_receipt(other)


def test_the_key_is_loaded_again_if_the_binary_forgot_it(key: Path) -> None:
    verifier = Verifier(**settings(receipt_key=key))
    first = verifier.verify(TOKEN, **READ)
    Signer(shared()).ask(ForgetKey(key=SERVICE.did))
    assert verifier.verify(TOKEN, **READ).receipt_jwt == first.receipt_jwt


def test_the_key_survives_a_crash_of_the_binary(key: Path) -> None:
    verifier = Verifier(**settings(receipt_key=key))
    first = verifier.verify(TOKEN, **READ)
    process = shared().running()
    assert process is not None
    process.kill()
    assert verifier.verify(TOKEN, **READ).receipt_jwt == first.receipt_jwt


# Settings


def test_a_key_that_others_can_read_is_refused(verifier_kind: VerifierKind, key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="can be read by others") as wrong:
        verifier_kind.make(receipt_key=key)
    assert wrong.value.setting == "receipt_key"


@pytest.mark.parametrize("given", [7, b"key", object(), [], True])
def test_a_key_is_given_as_a_file(verifier_kind: VerifierKind, given: object) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        verifier_kind.make(receipt_key=given)
    assert wrong.value.setting == "receipt_key"


def test_a_key_file_has_to_be_there_and_hold_a_key(
    verifier_kind: VerifierKind, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch(0o600)
    for file in (tmp_path / "missing", empty, tmp_path):
        with pytest.raises(ConfigurationError) as wrong:
            verifier_kind.make(receipt_key=str(file))
        assert wrong.value.setting == "receipt_key"


def test_on_receipt_needs_receipt_key_and_a_matching_verifier(
    verifier_kind: VerifierKind, key: Path
) -> None:
    async def awaited(_: str) -> None: ...

    wrong: list[dict[str, Any]] = [
        {"on_receipt": print},
        {"on_receipt": "print", "receipt_key": key},
    ]
    if verifier_kind.backend is None:
        wrong.append({"on_receipt": awaited, "receipt_key": key})
    for changes in wrong:
        with pytest.raises(ConfigurationError) as refused:
            verifier_kind.make(**changes)
        assert refused.value.setting == "on_receipt"


def test_a_receipt_names_the_service_if_another_key_signs(tmp_path: Path) -> None:
    file = tmp_path / "auditor.key"
    file.write_text(UNRELATED.seed)
    file.chmod(0o600)
    text = str(SYNC.verify(TOKEN, receipt_key=file).receipt_jwt)
    record = verify_receipt(text, issuers=[UNRELATED.did])
    assert (record.issuer, record.service) == (UNRELATED.did, SERVICE.did)


def test_hashes_are_of_canonical_json(key: Path) -> None:
    assert verification_receipt.hashes(RequestedCall("/a/b", {"provider": "a"}, {})) == (
        sha256({"provider": "a"}),
        None,
    )
    assert verification_receipt.hashes(
        RequestedCall("/a/b", {"provider": "a"}, {"n": float("nan")})
    ) == (
        None,
        None,
    )
    assert verification_receipt.hashes(RequestedCall("/a/b", {"provider": "a"}, {"n": 2**60})) == (
        None,
        None,
    )
    odd: dict[Any, Any] = {"provider": "a", 1: 2}
    assert verification_receipt.hashes(RequestedCall("/a/b", odd, {})) == (None, None)
