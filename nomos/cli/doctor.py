"""`nomos doctor`: check this installation. It needs no extra."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from rich.text import Text

from nomos._io.binary_location import VARIABLE, find_binary
from nomos._io.key_encryption import VARIABLE as SEALING
from nomos._io.key_encryption import key_id
from nomos._io.keyfile import encryption_key
from nomos._io.signer import Signer, SignerConnection
from nomos._protocol import (
    PROTOCOL,
    Answer,
    Delegate,
    Delegation,
    GenerateKey,
    GenerateKeyAnswer,
    Hello,
    HelloAnswer,
    Refused,
    Signed,
    Verified,
    Verify,
)
from nomos.cli.console import stdout
from nomos.errors import NomosError, SignerError

REINSTALL: Final = "reinstall nomos (in a checkout: uv sync --reinstall-package nomos)"


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: what was found and, if it failed, what to do."""

    check: str
    ok: bool
    found: str


def examine() -> Iterator[CheckResult]:
    """Run every check. A check that cannot be made counts as failed."""
    yield CheckResult("nomos", ok=True, found=metadata.version("nomos"))
    system = f"{platform.python_version()} on {platform.platform(terse=True)}"
    yield CheckResult("python", ok=True, found=system)
    yield _extra("server", "starlette", "cedarpy", "sqlalchemy")
    yield _tried("keys at rest", _keys_at_rest)
    try:
        binary = find_binary()
    except NomosError as error:
        yield CheckResult("binary", ok=False, found=str(error))
        return
    yield CheckResult("binary", ok=True, found=str(binary))
    yield _tried("binary's record", lambda: _record(binary))
    with closing(SignerConnection(binary)) as link:
        yield _tried("binary's version", lambda: _hello(Signer(link)))
        yield _tried("sign and verify", lambda: _round_trip(Signer(link)))


def show(findings: list[CheckResult]) -> None:
    for finding in findings:
        mark = Text(" ok  ", style="green") if finding.ok else Text("FAIL ", style="bold red")
        first, *rest = finding.found.splitlines()
        stdout.print(Text.assemble(mark, (f"{finding.check:<18}", "bold"), first))
        for line in rest:
            stdout.print(Text(f"{'':23}{line}"))


def _tried(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, ok=True, found=check())
    except NomosError as error:
        return CheckResult(name, ok=False, found=str(error))


def _extra(name: str, *modules: str) -> CheckResult:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    found = f"not installed: pip install 'nomos[{name}]'" if missing else "installed"
    return CheckResult(f"{name} extra", ok=True, found=found)


def _record(binary: Path) -> str:
    """Compare the binary with the digest that its build recorded."""
    note = binary.with_name(f"{binary.name}.json")
    if not note.exists():
        return f"none (a custom binary, set by {VARIABLE})"
    record = json.loads(note.read_text())
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()
    if digest != record["sha256"]:
        raise SignerError(
            f"sha256 is {digest}, but its build recorded {record['sha256']}: "
            "the binary was changed. Reinstall nomos."
        )
    return f"sha256 {digest}, Bun {record['bun']}, {record['platform']}"


def _keys_at_rest() -> str:
    key = encryption_key()
    if key is None:
        return f"not encrypted, in files that only their owner can read ({SEALING} is not set)"
    return f"encrypted with the key {key_id(key)}"


def _hello(signer: Signer) -> str:
    answer = signer.ask(Hello())
    assert isinstance(answer, HelloAnswer)
    ours = metadata.version("nomos")
    if answer.version != ours:
        raise SignerError(f"the binary is {answer.version}, the package {ours}: {REINSTALL}")
    return f"{answer.version}, {answer.runtime}, protocol {PROTOCOL}"


def _round_trip(signer: Signer) -> str:
    began = time.perf_counter()
    key = signer.ask(GenerateKey())
    if not isinstance(key, GenerateKeyAnswer):
        raise SignerError(f"the binary did not make a key: {key}")
    now = int(time.time())
    payload = Delegation(
        iss=key.key, aud=key.key, cmd="/doctor", pol=[], nonce="doctor", nbf=now - 60, exp=now + 60
    )
    signed = signer.ask(Delegate(key=key.key, payload=payload))
    if not isinstance(signed, Signed):
        raise SignerError(f"the binary did not sign: {signed}")
    for text, good in ((signed.jwt, True), (_tampered(signed.jwt), False)):
        verified = signer.ask(Verify(chain=[text], now=now, trusted_issuers=[key.key]))
        if isinstance(verified, Verified) is not good:
            raise SignerError(_wrong_answer(verified))
    took = (time.perf_counter() - began) * 1000
    return f"a token was signed and verified, a tampered one rejected, in {took:.0f} ms"


def _wrong_answer(answer: Answer | Refused) -> str:
    if not isinstance(answer, Refused):
        return f"a tampered token was accepted: {REINSTALL}"
    return (
        f"a valid token was rejected ({answer.message}): the binary may not be of this version; "
        f"{REINSTALL}"
    )


def _tampered(jwt: str) -> str:
    """Change one character of the signature."""
    at = len(jwt) - 40
    return f"{jwt[:at]}{'A' if jwt[at] != 'A' else 'B'}{jwt[at + 1 :]}"
