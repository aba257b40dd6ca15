"""`VerifierBase`: the settings of verifiers, and the checks of their values.

Shared by the sync and async verifiers; performs no I/O, except for reading a receipt key's file.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Any, ClassVar, Final, Self, TypedDict, Unpack, get_args

from pydantic import TypeAdapter, ValidationError

from nomos._core import token_verification
from nomos._core.call import RequestedCall
from nomos._core.denials import denied
from nomos._core.effects import Flow, perform
from nomos._core.remedies import UNAVAILABLE
from nomos._core.stores import (
    AsyncReplayStore,
    AsyncRevocationStore,
    ReplayStore,
    RevocationStore,
    StaticRevocations,
)
from nomos._core.token_verification import AwaitFirstSync, VerifierRules
from nomos._core.verification import Stale
from nomos._core.verification_receipt import ReceiptSigner, VerificationAttempt, with_receipt
from nomos._identifiers import is_did
from nomos._io.control_plane_sync import ControlPlaneSync
from nomos._io.keyfile import read_key_file
from nomos._io.revocation_feed import FIRST_LOOK_SECONDS
from nomos._io.signer import SignerConnection, shared
from nomos._limits import MAX_LINKS
from nomos._settings import checked_api_key
from nomos._tracebacks import without_frames
from nomos.capabilities import MAX_COMMAND
from nomos.errors import ConfigurationError, Denied
from nomos.models import LEEWAY_SECONDS, MAX_CHAIN_DEPTH, MAX_LEEWAY_SECONDS, Command, Verified

_COMMAND: Final[TypeAdapter[str]] = TypeAdapter(Command)
MAX_AGE: Final = 86_400
LATEST: Final = 253_402_300_799


class VerifierSettings(TypedDict, total=False):
    """Settings that every verifier takes, with a control plane or without. See `Verifier`."""

    max_depth: int
    leeway: int
    on_stale_revocations: Stale
    revocations_max_age: int
    replay: ReplayStore | AsyncReplayStore | None
    allow_missing_prf: bool
    receipt_key: str | os.PathLike[str] | None
    on_receipt: Callable[[str], Any] | None
    clock: Callable[[], float]


class VerifierBase(ABC):
    """The base of `Verifier` and `AsyncVerifier`: settings, stores and flows."""

    _can_await: ClassVar[bool]
    """Whether async functions can be awaited: True only in `AsyncVerifier`."""

    @without_frames
    def __init__(
        self,
        *,
        trusted_issuers: Sequence[str] | ControlPlaneSync,
        audience: str,
        max_depth: int = MAX_CHAIN_DEPTH,
        leeway: int = LEEWAY_SECONDS,
        revocations: RevocationStore | AsyncRevocationStore | Collection[str] | None = None,
        on_stale_revocations: Stale = "refuse",
        revocations_max_age: int = 5,
        replay: ReplayStore | AsyncReplayStore | None = None,
        allow_missing_prf: bool = False,
        receipt_key: str | os.PathLike[str] | None = None,
        on_receipt: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sync = trusted_issuers if isinstance(trusted_issuers, ControlPlaneSync) else None
        self._depth_from_control_plane = False
        self._rules = VerifierRules(
            trusted_issuers=() if self._sync else issuers_of(trusted_issuers),
            audience=_checked_did(audience, "audience", "the DID of this service"),
            max_depth=_checked_range("max_depth", max_depth, 1, MAX_LINKS),
            leeway=_checked_range("leeway", leeway, 0, MAX_LEEWAY_SECONDS),
            stale=_stale(on_stale_revocations),
            max_age=_checked_range("revocations_max_age", revocations_max_age, 0, MAX_AGE),
            allow_missing_prf=_checked_bool("allow_missing_prf", allow_missing_prf),
        )
        self._revocations = self._checked_store("revocations", "lookup", _revocations(revocations))
        self._replay: Any = (
            None if replay is None else self._checked_store("replay", "claim", replay)
        )
        self._receipt_signer = None if receipt_key is None else _read_receipt_signer(receipt_key)
        self._on_receipt = None if on_receipt is None else self._checked_callback(on_receipt)
        self._clock = _checked_callable("clock", clock)
        self._linked: SignerConnection | None = None
        self._closed = False
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Make the runtime that performs the effects of this verifier's flows."""

    @classmethod
    @without_frames
    def from_control_plane(
        cls,
        url: str,
        *,
        audience: str,
        api_key: str | None = None,
        trust_anchor: str | None = None,
        startup_timeout: float = FIRST_LOOK_SECONDS,
        allow_insecure: Sequence[str] = (),
        **settings: Unpack[VerifierSettings],
    ) -> Self:
        """Make a verifier that trusts a control plane's issuer and follows its revocations.

        It reads `/.well-known/nomos`. From then on, a thread follows the feed of revocations and
        issuer keys. A revocation takes effect within five seconds. Without a connection, every
        token is rejected (`revocations_stale`) as soon as the view is older than
        `revocations_max_age`; the thread reconnects by itself. It ends with `close()`, and is
        started again after `fork()`.

        It takes:

        - `url`: base URL of the control plane: https, or http on this machine.
        - `audience`: the DID of this service.
        - `api_key`: an API key of any role, for the feed.
        - `trust_anchor`: the issuer's DID, or that of one of its earlier keys, from a trusted
          source. The control plane must prove that its present key follows from it. Without it,
          the first keys received are trusted; this requires https, or this machine.
        - `startup_timeout`: seconds to wait for the first answer, 0.1 to 60. Default: 3.
        - `allow_insecure`: hosts that may be reached by plain http.
        - `settings`: arguments of the verifier. Without `max_depth`, the control plane's limit
          holds. A `SqlReplayStore` as `replay` also stores how far the logs were read, so that a
          control plane that was rolled back is rejected even after a restart of the verifier.

        `Verifier` waits for the first answer. Raises:

        - `ConfigurationError`: an invalid argument, or an issuer that does not follow from
          `trust_anchor`.
        - `Unreachable`: no usable answer within `startup_timeout`.
        - another `ControlPlaneError`: the answer is wrong.

        `AsyncVerifier` waits, and raises these, in `async with`. Otherwise it connects with its
        first token, and rejects tokens until it has an answer.
        """
        unknown = sorted(settings.keys() - VerifierSettings.__annotations__.keys())
        if unknown:
            method = f"{cls.__name__}.from_control_plane()"
            raise TypeError(f"{method} got an unexpected keyword argument {unknown[0]!r}")
        follower = ControlPlaneSync(
            url,
            api_key=checked_api_key(api_key),
            trust_anchor=trust_anchor,
            startup_timeout=startup_timeout,
            allow_insecure=allow_insecure,
            floors=_floors(settings.get("replay")),
        )
        verifier = cls(
            trusted_issuers=follower, audience=audience, revocations=follower, **settings
        )
        verifier._depth_from_control_plane = "max_depth" not in settings
        if not cls._can_await:
            try:
                follower.ready()
            except BaseException:
                follower.close()
                raise
        return verifier

    @property
    def audience(self) -> str:
        """The DID of the service whose tokens are verified."""
        return self._rules.audience

    @property
    def _link(self) -> SignerConnection:
        if self._linked is None:
            self._linked = shared()
        return self._linked

    def __repr__(self) -> str:
        if "_rules" not in vars(self):  # the constructor raised
            return f"{type(self).__name__}()"
        return f"{type(self).__name__}(audience={self.audience!r})"

    def _trust(self) -> VerifierRules:
        """Return the rules, with the issuers and the maximum depth that are valid now."""
        follower, rules = self._sync, self._rules
        if follower is None:
            return rules
        depth = follower.max_depth if self._depth_from_control_plane else rules.max_depth
        return replace(
            rules,
            trusted_issuers=tuple(follower.issuers()),
            max_depth=depth,
            server_time=follower.server_time(),
        )

    def _await_first_sync(self) -> Flow[None]:
        """Wait for the first reply of the control plane, if any: no issuer is known before."""
        if self._sync is not None:
            yield from perform(AwaitFirstSync())

    def _verify_flow(
        self,
        token: str,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None,
        *,
        require_signed_args: bool,
    ) -> Flow[Verified]:
        asked = replace(
            _requested_call(command, resource, args),
            require_signed_args=_checked_bool("require_signed_args", require_signed_args),
        )
        yield from self._await_first_sync()
        rules, now = self._trust(), self._now()
        flow = token_verification.verify(rules, token, asked, now)
        if self._receipt_signer is None:
            return (yield from flow)
        return (
            yield from with_receipt(
                flow, self._receipt_signer, VerificationAttempt(rules, token, asked, now)
            )
        )

    def _explain_flow(
        self,
        token: str,
        command: str | None,
        resource: Mapping[str, Any] | None,
        args: Mapping[str, Any] | None,
    ) -> Flow[str]:
        asked = None
        if command is not None:
            asked = _requested_call(command, resource, args)
        elif resource is not None or args is not None:
            raise ConfigurationError("resource and args require command", setting="command")
        yield from self._await_first_sync()
        return (yield from token_verification.explain(self._trust(), token, asked, self._now()))

    def _now(self) -> int:
        if self._closed:
            raise ConfigurationError("this verifier is closed; make a new one", setting="verifier")
        now = self._clock()
        if not 0 <= now <= LATEST:
            raise ConfigurationError(
                f"clock returned {now!r}, which is not a time in Unix seconds", setting="clock"
            )
        return int(now)

    def _checked_store(self, setting: str, method: str, thing: Any) -> Any:
        """Return `thing` if it has `method`, and if this verifier can call it (sync or async)."""
        found = getattr(thing, method, None)
        if isinstance(thing, type) and callable(found):
            name = thing.__name__
            raise ConfigurationError(
                f"{setting} is the class {name}: make one, as in {setting}={name}()",
                setting=setting,
            )
        if not callable(found):
            raise ConfigurationError(f"{setting} has no method {method}()", setting=setting)
        if iscoroutinefunction(found) and not self._can_await:
            raise ConfigurationError(
                f"{setting}.{method}() must be awaited: use AsyncVerifier", setting=setting
            )
        return thing

    def _checked_callback(self, given: Any) -> Any:
        if self._receipt_signer is None:
            raise ConfigurationError(
                "on_receipt requires receipt_key: without it no receipts are signed",
                setting="on_receipt",
            )
        if is_awaited(_checked_callable("on_receipt", given)) and not self._can_await:
            raise requires_await("on_receipt")
        return given


def _floors(replay: Any) -> Any:
    """Return the replay store if it also stores how far a control plane's logs were read."""
    kept = [getattr(replay, name, None) for name in ("floor", "keep_floor")]
    return replay if all(map(callable, kept)) else None


def is_awaited(given: Any) -> bool:
    """Return whether a call of `given` must be awaited, as far as its definition shows."""
    return iscoroutinefunction(given) or iscoroutinefunction(getattr(given, "__call__", None))  # noqa: B004 - not whether it can be called


def requires_await(setting: str) -> ConfigurationError:
    """Return the error for an async function that was passed to a sync verifier."""
    return ConfigurationError(
        f"{setting} must be awaited: use AsyncVerifier, and pass the async function itself",
        setting=setting,
    )


def refuse_awaitable(answer: object, setting: str) -> None:
    """Raise `ConfigurationError` for an awaitable result, which a sync verifier cannot await."""
    if iscoroutine(answer):
        answer.close()
    if isawaitable(answer):
        raise requires_await(setting)


def missing_replay_store() -> Denied:
    """Return the error of a verifier without a replay store for a token that works once."""
    return denied(
        UNAVAILABLE, "no replay store is configured, so tokens for writes are rejected", "replay"
    )


def _requested_call(command: object, resource: object, args: object) -> RequestedCall:
    try:
        path = _COMMAND.validate_python(command, strict=True)
    except ValidationError:
        raise ConfigurationError(
            "command must be a path of lower-case words, such as /github/issue/list, of at most "
            f"{MAX_COMMAND} characters",
            setting="command",
        ) from None
    if not isinstance(resource, Mapping):
        raise ConfigurationError(
            'resource must be a mapping such as {"provider": "github", "owner": "acme", "repo": '
            '"app"}',
            setting="resource",
        )
    if args is not None and not isinstance(args, Mapping):
        raise ConfigurationError("args must be a mapping, or left out", setting="args")
    return RequestedCall(path, resource, {} if args is None else args)


def issuers_of(given: object, setting: str = "trusted_issuers") -> tuple[str, ...]:
    """Return `given` as a tuple of DIDs; raises `ConfigurationError` if invalid or empty."""
    if isinstance(given, str) or not isinstance(given, Collection) or not given:
        raise ConfigurationError(
            f"{setting} must be the DIDs of trusted issuers, at least one; a control plane "
            "publishes its own at /.well-known/nomos",
            setting=setting,
        )
    return tuple(_checked_did(each, setting, "the DID of an issuer") for each in given)


def _read_receipt_signer(path: object) -> ReceiptSigner:
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(
            "receipt_key must be the path of a key file; `nomos keygen` makes one",
            setting="receipt_key",
        )
    return ReceiptSigner(read_key_file(path, setting="receipt_key"))


def _checked_did(given: object, setting: str, what: str) -> str:
    if isinstance(given, str) and is_did(given):
        return given
    raise ConfigurationError(f"{setting}: {what} must be a did:key:z6Mk…", setting=setting)


def _checked_range(setting: str, given: object, least: int, most: int) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and least <= given <= most:
        return given
    raise ConfigurationError(
        f"{setting} must be a whole number from {least} to {most}, not {given!r}", setting=setting
    )


def _checked_bool(setting: str, given: object) -> bool:
    if isinstance(given, bool):
        return given
    raise ConfigurationError(f"{setting} must be True or False, not {given!r}", setting=setting)


def _checked_callable(setting: str, given: Any) -> Any:
    if callable(given):
        return given
    raise ConfigurationError(f"{setting} must be a function", setting=setting)


def _stale(given: object) -> Stale:
    every: tuple[Stale, ...] = get_args(Stale)
    for known in every:
        if given == known:
            return known
    raise ConfigurationError(
        f'on_stale_revocations must be "refuse" or "allow", not {given!r}',
        setting="on_stale_revocations",
    )


def _revocations(given: Any) -> Any:
    if hasattr(given, "lookup"):
        return given
    several = isinstance(given, Collection) and not isinstance(given, str | bytes)
    if several and all(isinstance(each, str) for each in given):
        return StaticRevocations(given)
    raise ConfigurationError(
        "revocations must be an object with lookup(), a collection of revoked ids, or () for a "
        "service that does not check revocation. from_control_plane(…) follows the feed of a "
        "control plane",
        setting="revocations",
    )
