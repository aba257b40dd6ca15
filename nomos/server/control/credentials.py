"""API keys, `nomos_<app id>_<secret>`: issuing and authentication.

The secret is 32 random bytes, so its plain sha256 is stored: it cannot be guessed. An unknown app
takes as long to reject as a wrong secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from starlette.requests import Request

from nomos._core import derived_key
from nomos._core.http_rules import bearer
from nomos._core.http_rules.bearer import BearerFault
from nomos.errors import ConfigurationError
from nomos.models import Secret
from nomos.server.control.errors import ControlError, ErrorCode, invalid
from nomos.server.domain.accounts import ROLES, ApiKey, App, Role
from nomos.server.storage.identifiers import new_ident

KEY: Final = re.compile(r"nomos_(app_[0-9a-z]{26})_([0-9a-z]{52})")
NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")
MAX_COVERS: Final = 32

_NO_KEY: Final = ApiKey(app="", tenant="", role="agent", secret_hash="0" * 64)
"""Compared with when the app is unknown; no secret has this hash."""


class KeyStore(Protocol):
    """Where keys are looked up: `nomos.server.storage.store.Store`."""

    async def keys_of(self, app: str) -> tuple[ApiKey, ...]: ...


@dataclass(frozen=True)
class IssuedKey:
    """A new app with its first key, whose text is shown once."""

    app: App
    key: ApiKey
    text: Secret


class RepeatedRequest:
    """What one operator's idempotency key makes. It is as secret as the API key that it makes."""

    def __init__(self, key: str, operator: ApiKey) -> None:
        self._key = key
        self._operator = operator

    @classmethod
    def of(cls, request: Request, operator: ApiKey) -> Self | None:
        """Return it if the request has an idempotency key; raises `InvalidRequest` if invalid."""
        sent = request.headers.getlist(derived_key.HEADER)
        if not sent:
            return None
        if len(sent) != 1 or not derived_key.is_random(sent[0]):
            raise invalid(
                "Idempotency-Key",
                "here it is 32 random bytes, base64url without padding, because the new API key is "
                "derived from it",
            )
        return cls(sent[0], operator)

    def ident(self) -> str:
        """Return the id of the app that is made."""
        who = (self._operator.tenant, self._operator.app)
        number = int.from_bytes(derived_key.derived_bytes(self._key, "app id", *who), "big")
        return new_ident("app", number & ((1 << 48) - 1), lambda bits: number >> (256 - bits))

    def secret(self, app: str) -> str:
        """Return the secret part of the API key of `app`."""
        return derived_key.derived_secret(self._key, operator=self._operator.app, app=app)


def issue(
    name: str,
    role: Role,
    tenant: str,
    now: float,
    *,
    covers: Sequence[str] = (),
    owner: str | None = None,
    repeat: RepeatedRequest | None = None,
) -> IssuedKey:
    """Make an app and its key, random or from `repeat`; `covers` are roles it votes for."""
    if not NAME.fullmatch(name):
        message = "an app's name has 1 to 100 characters and no control characters"
        raise ConfigurationError(message, setting="name")
    if role not in ROLES:
        raise ConfigurationError(f"a role is one of {', '.join(ROLES)}", setting="role")
    if covers and role != "operator":
        message = f"only an operator covers roles; omit `covers` for the role {role}"
        raise ConfigurationError(message, setting="covers")
    if len(covers) > MAX_COVERS or not all(NAME.fullmatch(each) for each in covers):
        message = f"`covers` has up to {MAX_COVERS} names of 1 to 100 plain characters"
        raise ConfigurationError(message, setting="covers")
    ident = new_ident("app", int(now * 1000)) if repeat is None else repeat.ident()
    app = App(id=ident, tenant=tenant, name=name, created_at=int(now), owner=owner)
    key, text = new_key(app, role, covers, shown_to=owner, repeat=repeat)
    return IssuedKey(app, key, text)


def random_text() -> str:
    """Return 32 random bytes as 52 letters and digits."""
    return base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()


def hashed(secret: str) -> str:
    """Return the stored hash of a secret of 32 random bytes."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(
    app: App,
    role: Role,
    covers: Sequence[str],
    *,
    shown_to: str | None,
    repeat: RepeatedRequest | None = None,
) -> tuple[ApiKey, Secret]:
    """Make an API key of an app, and its text; `shown_to` is another operator who receives it."""
    secret = random_text() if repeat is None else repeat.secret(app.id)
    key = ApiKey(
        app=app.id,
        tenant=app.tenant,
        role=role,
        secret_hash=hashed(secret),
        covers=tuple(covers),
        shown_to=shown_to,
    )
    return key, Secret(f"nomos_{app.id}_{secret}")


async def authenticate(
    store: KeyStore, authorization: Sequence[str], roles: Collection[Role]
) -> ApiKey:
    """Return the API key in these headers, if its role is one of `roles`. Raises ControlError."""
    app, digest = _read(authorization)
    key = _matching(await store.keys_of(app), digest)
    if key is None:
        raise _unauthorized("invalid_api_key", "this server does not have this API key")
    if key.disabled:
        raise ControlError("app_disabled", "the app that this API key belongs to is disabled")
    if key.role not in roles:
        wanted = " or ".join(sorted(roles))
        message = f"this needs an API key with the role {wanted}; yours has the role {key.role}"
        raise ControlError("forbidden", message)
    return key


def check_url(query: bytes) -> None:
    """Raise ControlError if a URL contains a token: URLs are logged."""
    if bearer.is_in_query(query):
        challenge = {"www-authenticate": bearer.QUERY_CHALLENGE}
        raise ControlError("invalid_request", bearer.IN_QUERY, headers=challenge)


def _read(authorization: Sequence[str]) -> tuple[str, str]:
    match = None
    try:
        match = KEY.fullmatch(bearer.read(authorization, b""))
    except BearerFault as fault:
        if fault.fault == "missing":
            message = "send your API key as `Authorization: Bearer nomos_...`"
            raise _unauthorized("missing_api_key", message) from None
    if match is None:
        message = "the Authorization header does not contain an API key: `Bearer nomos_...`"
        raise _unauthorized("invalid_api_key", message)
    return match[1], hashed(match[2])


def _matching(keys: Sequence[ApiKey], digest: str) -> ApiKey | None:
    """Compare with every key of the app, without an early exit, and with one if it has none."""
    found = None
    for key in keys or (_NO_KEY,):
        if hmac.compare_digest(key.secret_hash, digest):
            found = key
    return found


def _unauthorized(code: ErrorCode, message: str) -> ControlError:
    return ControlError(code, message, headers={"www-authenticate": 'Bearer realm="nomos"'})
