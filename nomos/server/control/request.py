"""`canonicalize`: a question in canonical form, or an error that says what is wrong.

Pure. Policy, signing and the receipt use only the canonical form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic.alias_generators import to_camel

from nomos._limits import MAX_BODY_WITH_CHAIN, MAX_INTEGER
from nomos.errors import InvalidRequest
from nomos.models import MAX_ARGS_BYTES, MAX_CONTEXT_BYTES
from nomos.resources import (
    Catalog,
    CommandSpec,
    Provider,
    canonical_args,
    canonical_resource,
    commands_under,
    find_command,
    nearest_commands,
)
from nomos.server.control.body import sorted_json
from nomos.server.control.errors import shown
from nomos.server.control.messages import AuthorizeRequest
from nomos.server.domain.authorization import CanonicalRequest

MAX_FACTS_BYTES: Final = 2 * 1024
"""The maximum size of purpose and context in a delegation (`meta.facts`), in bytes."""

MAX_LISTED: Final = 12
NO_SERVICES: Final[Mapping[str, bool]] = MappingProxyType({})


def canonicalize(
    message: AuthorizeRequest,
    catalog: Catalog,
    pdp_did: str,
    bundle: str,
    services: Mapping[str, bool] = NO_SERVICES,
    *,
    holder: str | None = None,
    size: int = MAX_BODY_WITH_CHAIN,
) -> CanonicalRequest:
    """Return the canonical form of a question; `services` may be its audience, besides the PDP.

    The value of each service says whether it evaluates policy. `holder` is the agent that signed
    the question itself, on its chain. With a chain, an unknown command is denied later; otherwise
    it is an error. `size` is that of the whole question as JSON, in bytes: no member is larger.
    `pol` is left out: the signing binary checks it. Raises InvalidRequest naming the member that is
    wrong.
    """
    _check_audience(message.audience, pdp_did, services)
    if size > MAX_CONTEXT_BYTES:
        _check_size("context", message.context, MAX_CONTEXT_BYTES)
    provider = _provider(message, catalog)
    agent = holder or message.agent_did
    on_chain = holder is not None or message.delegated_chain is not None
    spec, commands = _commands(message, agent, catalog, on_chain=on_chain)
    question = CanonicalRequest(
        command=message.command,
        provider=provider,
        spec=spec,
        resource=canonical_resource(provider, message.resource, spec),
        args=_args(spec, message.args, size),
        ttl=message.ttl_seconds,
        agent=agent,
        purpose=message.purpose,
        context=None if message.context is None else _signed_form(message.context),
        sent=None if message.args is None else _signed_form(message.args),
        cosigner=message.cosigner_envelope_id,
        audience=None if message.audience == pdp_did else message.audience,
        commands=commands,
        service=message.audience not in (None, pdp_did) and not services[message.audience or ""],
    )
    # The facts are members of the question, in no longer form, and the hash of the policies.
    if size + len(bundle) + len('"bundle":"",') > MAX_FACTS_BYTES:
        _check_facts(question.facts(bundle))
    return question


def _signed_form(value: Any) -> Any:
    """Return the value as the token will have it: 9.0 becomes 9. Policy sees the same value."""
    match value:
        case dict():
            return {name: _signed_form(item) for name, item in value.items()}
        case list():
            return [_signed_form(item) for item in value]
        case float() if value.is_integer() and abs(value) <= MAX_INTEGER:
            return int(value)
    return value


def _check_audience(audience: str | None, pdp_did: str, services: Collection[str]) -> None:
    if audience not in (None, pdp_did, *services):
        message = (
            "audience: is not a registered service. Leave it out, name the PDP "
            f"({pdp_did}), or have an operator register the service"
        )
        raise InvalidRequest(message, fields=("audience",))


def _provider(message: AuthorizeRequest, catalog: Catalog) -> Provider:
    name = message.command.split("/")[1]
    provider = catalog.get(name)
    if provider is None:
        known = ", ".join(sorted(catalog)[:MAX_LISTED])
        sentence = f"command: there is no provider {shown(name)}; this server has {known}"
        raise InvalidRequest(sentence, fields=("command",))
    if message.resource.get("provider", name) != name:
        sentence = f'resource.provider: must be "{name}", as in the command'
        raise InvalidRequest(sentence, fields=("resource.provider",))
    return provider


def _commands(
    message: AuthorizeRequest, agent: str | None, catalog: Catalog, *, on_chain: bool
) -> tuple[CommandSpec | None, tuple[str, ...]]:
    """Return the registered command, or all commands that it is a prefix of."""
    found = find_command(catalog, message.command)
    if found is not None:
        return found[1], ()
    commands_below = commands_under(catalog, message.command)
    if commands_below:
        _check_prefix(message, agent, commands_below)
    elif not on_chain:
        raise _unknown(message.command, catalog)
    return None, commands_below


def _unknown(command: str, catalog: Catalog) -> InvalidRequest:
    """Return the error for an unknown command; on a chain it is not used, and policy denies."""
    near = nearest_commands(catalog, command)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    return InvalidRequest(
        f"command: {command} is not a registered command{hint}", fields=("command",)
    )


_NOT_WITH_PREFIX: Final = {
    "args": "they are those of one call",
    "cosigner_envelope_id": "operators approve one call",
}


def _check_prefix(
    message: AuthorizeRequest, agent: str | None, commands_below: Sequence[str]
) -> None:
    """Raise InvalidRequest for members that make no sense for several commands."""
    some = ", ".join(commands_below[:MAX_LISTED]) + (
        ", ..." if len(commands_below) > MAX_LISTED else ""
    )
    stands = f"and {message.command} stands for several commands. Ask for one of {some}"
    for name, why in _NOT_WITH_PREFIX.items():
        if getattr(message, name) is not None:
            field = to_camel(name)
            raise InvalidRequest(f"{field}: {why}, {stands}", fields=(field,))
    if agent is None:
        sentence = (
            "agentDid: is required, for a grant of several commands is used by an agent that "
            f"signs each call itself, {stands}"
        )
        raise InvalidRequest(sentence, fields=("agentDid",))


def _args(
    spec: CommandSpec | None, args: Mapping[str, Any] | None, size: int
) -> Mapping[str, Any] | None:
    if size > MAX_ARGS_BYTES:
        _check_size("args", args, MAX_ARGS_BYTES, hint=_hint(spec))
    if args is None or spec is None:
        return None
    # Args of a write are bound as a whole: without a required one, no call could match them.
    return canonical_args(spec, args, complete=spec.risk != "read")


def _hint(spec: CommandSpec | None) -> str:
    """Return how to send a long text to this command, if it takes one."""
    names = [] if spec is None else [n for n, each in spec.args.items() if each.digest is not None]
    if not names:
        return ""
    return f'. Send {names[0]} as {{"sha256": "<hex of its UTF-8 text>"}}; the call brings the text'


def _check_size(field: str, value: Mapping[str, Any] | None, limit: int, *, hint: str = "") -> None:
    size = 0 if value is None else len(sorted_json(value))
    if size > limit:
        message = f"{field}: is {size} bytes as JSON, and {limit} is the most{hint}"
        raise InvalidRequest(message, fields=(field,))


def _check_facts(facts: Mapping[str, Any]) -> None:
    size = len(sorted_json(facts))
    if size > MAX_FACTS_BYTES:
        message = (
            f"context: with the purpose it takes {size} bytes in the token, and "
            f"{MAX_FACTS_BYTES} is the most. Leave out what policy and operators do not need"
        )
        raise InvalidRequest(message, fields=("context",))
