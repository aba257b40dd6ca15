"""The options of `nomos token verify` and `why`, as the terms of a verification."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from nomos._core.call import RequestedCall
from nomos._core.token_verification import VerifierRules
from nomos._identifiers import is_did
from nomos._io.control_plane_sync import ControlPlaneSync
from nomos._io.urls import checked_url, is_loopback
from nomos._settings import VARIABLES, checked_api_key, stray
from nomos.cli import insecure_hosts
from nomos.cli.operator_key import DEV_KEY_FILE, KEY, KEY_FILE, find_key
from nomos.cli.token.input import TokenInput
from nomos.cli.token.verdict import GivenRevocations, VerificationTerms
from nomos.errors import ConfigurationError, Unreachable
from nomos.models import Command, Secret

LATEST: Final = 253402300799
API_KEY: Final = VARIABLES["api_key"]
_REVOKED: Final = re.compile(r"[0-9A-Za-z:._-]{1,128}")


@dataclass(frozen=True)
class Options:
    """The options as given on the command line."""

    issuers: Sequence[str]
    audience: str | None
    command: str | None
    resource: str | None
    args: str | None
    revoked: Sequence[str]
    control_url: str | None
    key_file: Path | None
    leeway: int
    max_depth: int
    at: str | None
    allow_missing_prf: bool
    pdp: bool


@contextmanager
def open_terms(options: Options, given: TokenInput) -> Iterator[VerificationTerms]:
    """Return the terms in the options. With a control plane, its feed is followed meanwhile.

    Raises `ConfigurationError`, which names the option and does not repeat its value.
    """
    terms = _terms(options, given)
    if given.kind == "receipt":
        # A receipt is about a past call: a revocation does not change that decision.
        named = {"--control-url": options.control_url, "--revoked": options.revoked}
        yield replace(terms, unused=tuple(name for name, value in named.items() if value))
    elif options.control_url is None:
        yield terms
    else:
        with _followed(options, options.control_url, terms) as view:
            yield replace(terms, view=view)


def _terms(options: Options, given: TokenInput) -> VerificationTerms:
    if options.audience is None and given.kind != "receipt":
        whose = "service" if given.kind == "invocation" else "holder"
        raise ConfigurationError(
            f"pass the DID of the {whose} that the token is verified for", setting="--audience"
        )
    rules = VerifierRules(
        trusted_issuers=tuple(_did(each, "--issuer") for each in options.issuers),
        audience="" if options.audience is None else _did(options.audience, "--audience"),
        max_depth=options.max_depth,
        leeway=options.leeway,
        allow_missing_prf=options.allow_missing_prf,
        pdp=options.pdp,
    )
    view = GivenRevocations(frozenset(_revoked(each) for each in options.revoked))
    return VerificationTerms(rules, _call(options), _moment(options.at), view)


@contextmanager
def _followed(
    options: Options, control_url: str, terms: VerificationTerms
) -> Iterator[GivenRevocations]:
    """Follow the feed of the one trusted issuer. A feed has no revocations of other issuers."""
    issuer, *others = dict.fromkeys(terms.rules.trusted_issuers)
    if others:
        raise ConfigurationError(
            "--control-url needs exactly one --issuer: a feed has the revocations of one issuer. "
            "Verify tokens of other issuers in separate commands",
            setting="--control-url",
        )
    hosts = insecure_hosts.hosts()
    url = checked_url(control_url, setting="--control-url", allow_insecure=hosts)
    key = _key(url, options.key_file, os.environ)
    follower = ControlPlaneSync(url, api_key=key, trust_anchor=issuer, allow_insecure=hosts)
    try:
        _ready(follower)
        yield replace(terms.view, url=url, follower=follower)
    finally:
        follower.close()


def _key(url: str, file: Path | None, environ: Mapping[str, str]) -> Secret:
    """Return the API key for the feed; any role may read it."""
    value = environ.get(API_KEY)
    if file is None and value:
        try:
            key = checked_api_key(value)
        except ConfigurationError:
            key = None
        if key is None:
            raise ConfigurationError(
                f"not an API key (nomos_<app>_<secret>){stray(value)}", setting=API_KEY
            )
        return key
    here = is_loopback(url) and DEV_KEY_FILE.exists()
    if file is None and not here and not any(environ.get(name) for name in (KEY_FILE, KEY)):
        raise ConfigurationError(
            f"the feed needs an API key, of any role: set {API_KEY}, or pass --key-file with a "
            "file (0600) that holds one",
            setting="--key-file",
        )
    return find_key(url, file, environ).secret


def _ready(follower: ControlPlaneSync) -> None:
    """Wait for the feed. Errors name the option, not the argument of the SDK."""
    try:
        follower.ready()
    except Unreachable as error:
        raise Unreachable(error.reason.replace("control_plane_url", "--control-url")) from None


def _did(text: str, setting: str) -> str:
    did = text.strip()
    if is_did(did):
        return did
    raise ConfigurationError("not a DID: pass did:key:z6Mk and 44 characters", setting=setting)


def _revoked(text: str) -> str:
    if _REVOKED.fullmatch(text) and text.count(".") < 2:
        return text
    raise ConfigurationError(
        "not an id: pass a cid, a DID, or an id such as env_…", setting="--revoked"
    )


def _call(options: Options) -> RequestedCall | None:
    if options.command is None and options.resource is None and options.args is None:
        return None
    if options.command is None or options.resource is None:
        missing = "--command" if options.command is None else "--resource"
        raise ConfigurationError("a call needs both --command and --resource", setting=missing)
    try:
        command = TypeAdapter[str](Command).validate_python(options.command)
    except ValidationError:
        raise ConfigurationError(
            "not a command: pass a path such as /github/issue/list", setting="--command"
        ) from None
    resource = _object(options.resource, "--resource")
    args = {} if options.args is None else _object(options.args, "--args")
    return RequestedCall(command, {"provider": command.split("/")[1], **resource}, args)


def _object(text: str, setting: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigurationError("not a JSON object", setting=setting)
    return value


def _moment(text: str | None) -> int:
    if text is None:
        return int(time.time())
    try:
        seconds = int(text) if text.isdecimal() else int(_time(text).timestamp())
    except (ValueError, OverflowError):
        seconds = -1
    if 0 <= seconds <= LATEST:
        return seconds
    raise ConfigurationError(
        "not a time: pass 2026-01-05T09:00:00Z, or Unix seconds", setting="--at"
    )


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
