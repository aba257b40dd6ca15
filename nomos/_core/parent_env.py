"""The environment variables that carry a chain to a child process: written and parsed.

`NOMOS_PARENT_UCAN_CHAIN` is a JSON array of tokens, root first; for several chains, an array of
such arrays. A text that is too large for a variable goes into a file that
`NOMOS_PARENT_UCAN_CHAIN_FILE` names. The other variables name the parent's audit record, the swarm,
the limits and the key.

A process that has any of these variables is a child. If it cannot read its chain it must not act at
all: as a root it could do more than its parent delegated. So every doubt raises. Signatures are not
checked here; `chain_verification` does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nomos._core.scope import payloads
from nomos._identifiers import JWT
from nomos._json import mapping
from nomos._limits import MAX_LINKS, MAX_TOKEN
from nomos._sealed import make
from nomos.errors import ChainError, ChainTooDeep, ConfigurationError, MalformedChain
from nomos.models import MAX_CHAIN_DEPTH, Chain, GrantBase, ParentChain, chain_of

CHAIN: Final = "NOMOS_PARENT_UCAN_CHAIN"
CHAIN_FILE: Final = "NOMOS_PARENT_UCAN_CHAIN_FILE"
RECEIPT: Final = "NOMOS_PARENT_RECEIPT_ID"
SWARM: Final = "NOMOS_SWARM_ID"
DEPTH: Final = "NOMOS_MAX_CHAIN_DEPTH"
KEY_FD: Final = "NOMOS_AGENT_KEY_FD"
KEY_HANDOVER: Final = "NOMOS_AGENT_KEY_HANDOVER_FILE"
KEY_FILE: Final = "NOMOS_AGENT_KEY_FILE"
CLOCK: Final = "NOMOS_CLOCK_OFFSET"
"""Seconds by which the control plane's clock is ahead of this machine's, as the parent found."""

SWARM_VARIABLES: Final = (CHAIN, CHAIN_FILE, RECEIPT, SWARM, KEY_FD, KEY_HANDOVER)
"""A process in which any of these is set, even to an empty value, is a child."""

MAX_OFFSET: Final = 86_400
"""The largest clock offset, in seconds. It changes only this process's reading of the time."""

MAX_VALUE: Final = 96 * 1024
"""Characters of the chains in a variable. Linux permits 128 KiB for one, with its name."""

MAX_TEXT: Final = 1024 * 1024  # characters of all chains together
MAX_CHAINS: Final = 64

_NAME: Final = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_COUNT: Final = re.compile(r"[1-9][0-9]?")
_OFFSET: Final = re.compile(r"-?[0-9]{1,5}")

ROOT: Final = "this process is a root: authorize first and pass grant.chain"


def to_env(parent: ParentChain, *, file: str | None = None) -> dict[str, str]:
    """Return the variables that pass `parent` to a child process; none for an empty one.

    `file` names the file that holds `chain_text(parent)`, which a large one needs; see
    `needs_file`. Raises `ChainError` or `ConfigurationError` for a parent that `from_env` would
    reject.
    """
    written = checked(parent, where="the chain to delegate")
    if not written:
        return {}
    value = chain_text(written)
    if file is None and needs_file(value):
        raise ConfigurationError(
            f"the chains take {len(value)} characters, more than a variable holds "
            f"({MAX_VALUE}): pass them in a file",
            setting=CHAIN_FILE,
        )
    named = {RECEIPT: parent.parent_receipt_id, SWARM: parent.swarm_id}
    return {
        **({CHAIN: value} if file is None else {CHAIN_FILE: file}),
        **{variable: name for variable, name in named.items() if name is not None},
        DEPTH: str(parent.max_depth),
    }


def from_env(environ: Mapping[str, str], read_file: Callable[[str], str]) -> ParentChain:
    """Return the inherited authority; a falsy `ParentChain` if there is no parent.

    `read_file` returns the text of the file that a variable names. Raises `ConfigurationError`,
    `MalformedChain` or `ChainTooDeep`, naming the variable, for anything that cannot be read.
    """
    depth = max_depth(environ)
    found = [variable for variable in SWARM_VARIABLES if variable in environ]
    if not found:
        return make(ParentChain, max_depth=depth)
    if CHAIN in environ and CHAIN_FILE in environ:
        raise ConfigurationError(
            f"{CHAIN} and {CHAIN_FILE} are both set, but a process inherits its chain in one of "
            "them: unset the one that the parent did not set",
            setting=CHAIN_FILE,
        )
    if CHAIN in environ:
        where, value = CHAIN, environ[CHAIN]
    elif CHAIN_FILE in environ:
        where, value = CHAIN_FILE, read_file(environ[CHAIN_FILE])
    else:
        raise ConfigurationError(
            f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} set, but neither {CHAIN} "
            f"nor {CHAIN_FILE} is. Start this process with all that child.env() returns, or unset "
            "them to act as a root",
            setting=found[0],
        )
    parent = make(
        ParentChain,
        chains=read(value, where=where),
        parent_receipt_id=_name(environ, RECEIPT),
        swarm_id=_name(environ, SWARM),
        max_depth=depth,
    )
    return checked(parent, where=where)


def max_depth(environ: Mapping[str, str]) -> int:
    """Return how many delegations a chain may have; raise `ConfigurationError` for a bad number."""
    value = environ.get(DEPTH)
    if not value:
        return MAX_CHAIN_DEPTH
    if _COUNT.fullmatch(value) and int(value) <= MAX_LINKS:
        return int(value)
    raise ConfigurationError(f"{DEPTH} must be a whole number from 1 to {MAX_LINKS}", setting=DEPTH)


def clock_offset(environ: Mapping[str, str]) -> int | None:
    """Return by how many seconds the control plane's clock is ahead; None if the parent set none.

    Raises `ConfigurationError` for a value that is not a number, or is more than a day.
    """
    value = environ.get(CLOCK)
    if not value:
        return None
    if _OFFSET.fullmatch(value) and abs(int(value)) <= MAX_OFFSET:
        return int(value)
    raise ConfigurationError(
        f"{CLOCK} must be a whole number of seconds from -{MAX_OFFSET} to {MAX_OFFSET}, as "
        "child.env() writes it",
        setting=CLOCK,
    )


def clock_variable(offset: float | None) -> dict[str, str]:
    """Return the variable that passes the clock offset to a child; none if it is unknown."""
    if offset is None or abs(offset) > MAX_OFFSET:
        return {}
    return {CLOCK: str(round(offset))}


def chain_text(parent: ParentChain) -> str:
    """Return the chains as JSON: one as an array of tokens, several as an array of arrays."""
    chains = [list(chain) for chain in parent.chains]
    return json.dumps(chains[0] if len(chains) == 1 else chains, separators=(",", ":"))


def needs_file(value: str) -> bool:
    """Whether the text of the chains is too large for a variable."""
    return len(value) > MAX_VALUE


def read(value: str, *, where: str) -> tuple[Chain, ...]:
    """Parse the chains in a text; `where` names its place in messages."""
    if len(value) > MAX_TEXT:
        raise _malformed(f"{where} has {len(value)} characters; at most {MAX_TEXT} are read")
    if not value.strip():
        raise _malformed(
            f"{where} is set but empty: a child without a chain may do nothing. Unset it to act "
            "as a root, or start this process with what child.env() returns"
        )
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{where} {_EXPECTED}: it cannot be read as JSON") from error
    if not isinstance(parsed, list) or not parsed:
        raise _malformed(f"{where} {_EXPECTED}")
    several = parsed if isinstance(parsed[0], list) else [parsed]
    if not all(isinstance(links, list) for links in several):
        raise _malformed(f"{where} {_EXPECTED}, and not a mixture of both")
    return tuple(_chain(links, where) for links in several)


def checked(parent: ParentChain, *, where: str) -> ParentChain:
    """Return `parent` if it can be passed to another process.

    Raises `MalformedChain`, `ChainTooDeep` or `ConfigurationError`; no message contains a token.
    """
    for name in (parent.parent_receipt_id, parent.swarm_id):
        if name is not None and not (parent.chains and _NAME.fullmatch(name)):
            raise ConfigurationError(
                f"{where}: parent_receipt_id and swarm_id go with a chain, and are names such as "
                "evt_01jb…: 1 to 128 letters, digits and . _ : / -",
                setting=where,
            )
    if not 1 <= parent.max_depth <= MAX_LINKS:
        raise ConfigurationError(
            f"{where}: max_depth must be from 1 to {MAX_LINKS}, not {parent.max_depth}",
            setting=where,
        )
    if len(parent.chains) > MAX_CHAINS:
        raise _malformed(f"{where} holds {len(parent.chains)} chains; the limit is {MAX_CHAINS}")
    for chain in parent.chains:
        _chain(chain, where)
        if len(chain) > parent.max_depth:
            raise ChainTooDeep(
                f"{where} holds a chain of {len(chain)} links, and {DEPTH} allows "
                f"{parent.max_depth}",
                code="chain_too_deep",
                hop=parent.max_depth,
            )
    if sum(len(link) + 3 for chain in parent.chains for link in chain) > MAX_TEXT - 3 * MAX_CHAINS:
        raise _malformed(f"{where} holds chains of more than {MAX_TEXT} characters together")
    return parent


def as_parent_chain(
    parent_chain: object, *, setting: str = "parent_chain", most: int = MAX_CHAIN_DEPTH
) -> ParentChain:
    """Return any form of a chain as a `ParentChain` that is not empty.

    Takes a `Chain`, a sequence of tokens, a sequence of such chains, a `ParentChain`, or a grant.
    `most` is the limit of delegations for forms that do not contain one. Raises
    `ConfigurationError` for an empty one, `Denied` for a grant that is not an allow.
    """
    if isinstance(parent_chain, GrantBase):
        parent_chain = parent_chain.require().chain
    parent = (
        parent_chain
        if isinstance(parent_chain, ParentChain)
        else make(ParentChain, chains=_chains(parent_chain, setting), max_depth=most)
    )
    if not any(parent.chains):
        raise ConfigurationError(f"{setting} is empty: {ROOT}", setting=setting)
    return checked(parent, where=setting)


def swarm_ids(parent: ParentChain) -> tuple[str | None, str | None]:
    """Return the first root's receipt id and swarm id; the token takes precedence over `parent`."""
    meta = mapping(payloads(parent.chains[0][:1])[0].get("meta"))
    label = mapping(meta.get("lineage")).get("swarmId")
    receipt = _text(meta.get("receipt_id")) or parent.parent_receipt_id
    return receipt, _text(label) or _text(meta.get("receipt_id")) or parent.swarm_id


_EXPECTED: Final = "must be a JSON array of delegations, root first, or an array of such arrays"


def _chains(value: object, setting: str) -> tuple[Chain, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items: Sequence[Any] = value
        if all(isinstance(each, str) for each in items):
            return (chain_of(items),) if items else ()
        if all(isinstance(each, Sequence) and not isinstance(each, str | bytes) for each in items):
            return tuple(chain_of(each) for each in items)
    raise ConfigurationError(
        f"{setting} must be a chain, such as grant.chain or what read_parent_chain_from_env "
        "returns, or a sequence of chains",
        setting=setting,
    )


def _chain(links: Sequence[object], where: str) -> Chain:
    if not links:
        raise _malformed(f"{where} holds an empty chain: {_EXPECTED}")
    if len(links) > MAX_LINKS:
        raise ChainTooDeep(
            f"{where} holds a chain of {len(links)} links; no chain has more than {MAX_LINKS}",
            code="chain_too_deep",
            hop=MAX_LINKS,
        )
    return chain_of(_token(link, hop, where) for hop, link in enumerate(links))


def _token(link: object, hop: int, where: str) -> str:
    if not isinstance(link, str) or len(link) > MAX_TOKEN or not JWT.fullmatch(link):
        raise _malformed(f"{where} {_EXPECTED}: link {hop} is not a token", hop)
    return link


def _name(environ: Mapping[str, str], variable: str) -> str | None:
    value = environ.get(variable)
    if value is None or _NAME.fullmatch(value):
        return value
    raise ConfigurationError(
        f"{variable} must be 1 to 128 letters, digits and . _ : -, as child.env() writes it",
        setting=variable,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _malformed(message: str, hop: int | None = None) -> ChainError:
    return MalformedChain(message, code="malformed_ucan", hop=hop)
