"""Random valid chains, and requests about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from model.making import Chain, Draft, Twisted
from model.rules import LAST_SECOND
from model.statements import another, statement, value
from vectors.forge import INVOCATION, Party, cid

Json = dict[str, Any]

NOW: Final = 1_800_000_000
ISSUER, OTHER_ISSUER, SERVICE, OTHER_SERVICE, UNRELATED = (Party(number) for number in range(1, 6))
AGENTS: Final = (*(Party(number) for number in range(10, 21)), Twisted(21, patient=True))
HASTY: Final = Twisted(22, patient=False)
"""One whose signatures hold half of the time."""
SEGMENTS: Final = ("a", "b", "ab", "a-b", "_", "0", "list", "issue")
COMMANDS: Final = ("/a", "/a/b", "/a/b/list", "/a/bc", "/issue", "/ab", "/a/b/list/0", "/a/b/list0")
PATHS: Final = (
    "",
    "src",
    "src/app",
    "src/app/a.py",
    "src/apple",
    "s",
    "\u00e9/\U0001f600",
    "src/.a",
)


ODD_NAMES: Final = ("\u00e9", "10", "9", "__proto__", "constructor", "toString", "length")


@dataclass
class Scene:
    """A chain that holds, the one call that it is used for, and whom it was made by."""

    chain: Chain
    issuer: Party
    cmd: str
    resource: Json
    args: Json
    first: int
    last: int


def scene(random: Random) -> Scene:
    cmd = "".join(f"/{random.choice(SEGMENTS)}" for _ in range(random.randint(1, 4)))
    resource = {"provider": "p", "owner": random.choice(("o", "acme")), **extras(random)}
    args = {name: value(random) for name in random.sample(("state", "to", "n", "x", *ODD_NAMES), 2)}
    issuer = random.choice((ISSUER, ISSUER, OTHER_ISSUER))
    count = random.choice((1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8))
    made = Scene(Chain([]), issuer, cmd, resource, args, NOW - 600, NOW + 3000)
    people = [issuer, *random.sample(AGENTS, min(count, len(AGENTS)))]
    links = drafts(random, made, people)
    made.chain = Chain(links, use(random, made, people[-1])).signed()
    return made


def extras(random: Random) -> Json:
    more: Json = {}
    if random.random() < 0.6:
        more["path"] = random.choice(PATHS)
    if random.random() < 0.6:
        more["repo"] = value(random)
    if random.random() < 0.2:
        more[random.choice(ODD_NAMES)] = value(random)
    return more


def drafts(random: Random, made: Scene, people: list[Party]) -> list[Draft]:
    subject = {"cmd": made.cmd, "resource": made.resource, "args": made.args}
    segments = made.cmd.split("/")[1:]
    shown = random.randint(1, len(segments))
    start, end = made.first, made.last
    limits: Json | None = None
    links: list[Draft] = []
    for hop, (delegator, taker) in enumerate(itertools.pairwise(people)):
        shown = random.randint(shown, len(segments)) if random.random() < 0.4 else shown
        if random.random() < 0.4:
            limits = narrowed(random, limits or {}, made.resource)
        start += random.choice((0, 0, 1, 60))
        end -= random.choice((0, 0, 1, 60))
        payload: Json = {
            "iss": delegator.did,
            "aud": taker.did,
            "cmd": "/" + "/".join(segments[:shown]),
            "pol": [statement(random, subject) for _ in range(random.choice((0, 0, 1, 2)))],
            "nonce": f"n{random.randrange(10**6)}",
            "nbf": start,
            "exp": end,
        }
        if random.random() < 0.3:
            payload["sub"] = made.issuer.did
        meta = random_meta(random, hop)
        if limits is not None and random.random() < 0.8:
            meta["resource_constraint"] = limits
        elif limits is not None:
            limits = effective(links)
        if meta or random.random() < 0.1:
            payload["meta"] = meta
        if hop == 0 and random.random() < 0.15:
            payload["prf"] = [cid(str(number)) for number in range(random.randint(0, 3))]
        links.append(Draft(payload, delegator))
    return links


def effective(links: list[Draft]) -> Json | None:
    """The resource that the last link with a word about it left."""
    metas = [link.payload["meta"] for link in links if "meta" in link.payload]
    limits = [meta["resource_constraint"] for meta in metas if "resource_constraint" in meta]
    return limits[-1] if limits else None


def narrowed(random: Random, limits: Json, resource: Json) -> Json:
    """What covers `resource` and says no less than `limits`."""
    more = {name: it for name, it in resource.items() if name in limits or random.random() < 0.5}
    if "path" in more:
        parts = more["path"].split("/")
        floor = len(limits["path"].split("/")) if limits.get("path") else 0
        keep = random.randint(min(floor, len(parts)), len(parts))
        more["path"] = "/".join(parts[:keep])
    return more


def random_meta(random: Random, hop: int) -> Json:
    meta: Json = service_meta(random, hop)
    if random.random() < 0.3:
        meta["receipt_id"] = "evt_1"
    if random.random() < 0.1:
        meta["facts"] = value(random)
    if random.random() < 0.1:
        meta["lineage"] = {"depth": random.randint(0, 3), "swarmId": "s"} if hop == 0 else {}
        if random.random() < 0.5:
            through = [random.choice(("did:key:zA", 7, UNRELATED.did)) for _ in range(2)]
            meta["lineage"] |= {"root": "did:key:zA", "invokedBy": through, "apps": ["app_2"]}
    if random.random() < 0.2:
        meta["app_id"] = random.choice(("app_1", "app_2", 3))
    return meta


def service_meta(random: Random, hop: int) -> Json:
    """Which service it is for, and what that may do with it; mostly what is needed."""
    meta: Json = {}
    if random.random() < (0.1 if hop else 0.96):
        meta["audience"] = SERVICE.did
    if random.random() < (0.1 if hop else 0.92):
        meta["closed"] = True
    if random.random() < 0.1:
        meta["forkable"] = True
    return meta


def use(random: Random, made: Scene, agent: Party) -> Draft:
    start = NOW - 60
    payload = {
        "iss": agent.did,
        "aud": SERVICE.did,
        "sub": made.issuer.did,
        "cmd": made.cmd,
        "args": {"resource": made.resource, **made.args},
        "nonce": f"use-{random.randrange(10**6):06}",
        "iat": start,
        "exp": NOW + random.choice((60, 300, 2000)),
    }
    return Draft(payload, agent, INVOCATION, linked=False)


def about(random: Random, made: Scene, chain: Chain) -> list[Json]:
    """Requests about a chain: as a service asks, and with what it asks changed."""
    base: Json = {
        "op": "verify",
        "now": NOW,
        "leeway": 0,
        "max_depth": 8 if len(chain.links) < 7 else 12,
        "trusted_issuers": [ISSUER.did, OTHER_ISSUER.did],
        "revoked": [],
        "revocations_max_age": 5,
        "allow_missing_prf": False,
    }
    token = (
        chain.use.token(prf=chain.texts)
        if chain.use and "prf" not in chain.use.payload
        else (chain.use.token() if chain.use else "")
    )
    bare = {**base, "chain": chain.texts}
    full = {**base, "invocation": token, "audience": SERVICE.did}
    call = {"cmd": made.cmd, "resource": made.resource, "args": made.args}
    more = made.args | {name: value(random) for name in ("y", "z") if random.random() < 0.5}
    requested = {"cmd": made.cmd, "resource": made.resource}
    asked = [
        bare,
        full,
        {**full, "call": {**call, "args": more}},
        {**random.choice((full, bare)), "requested": requested},
    ]
    asked += [
        varied(random, made, chain, random.choice((bare, full, full)), token) for _ in range(8)
    ]
    return asked


def varied(random: Random, made: Scene, chain: Chain, it: Json, token: str) -> Json:
    """The same request with one or two things changed."""
    for _ in range(random.choice((1, 1, 1, 2))):
        it = {**it, **change(random, made, chain, it, token)}
    return it


def change(random: Random, made: Scene, chain: Chain, it: Json, token: str) -> Json:
    people = [one.did for one in (*AGENTS, SERVICE, UNRELATED)]
    issuers = [made.issuer.did, UNRELATED.did, OTHER_ISSUER.did, ISSUER.did]
    options: list[Callable[[], Json]] = [
        lambda: moment(random, chain, it),
        lambda: {"leeway": random.randrange(61)},
        lambda: {"max_depth": random.choice((1, 2, 3, len(chain.links), 8, 32))},
        lambda: {"trusted_issuers": random.sample(issuers, random.randrange(3))},
        lambda: {"audience": random.choice(people)},
        lambda: {"revoked": revoked(random, chain, token)},
        lambda: {"revocations_age": random.randrange(4, 8), "revocations_max_age": 5},
        lambda: {"revocations_age": random.randrange(2), "revocations_max_age": 0},
        lambda: {"allow_missing_prf": True},
        lambda: {"pdp": random.random() < 0.7},
    ]
    if "invocation" in it and "requested" not in it:
        options += [lambda: {"call": changed_call(random, made)}] * 2
    if "call" not in it:
        options.append(lambda: {"requested": changed_capability(random, made)})
    return random.choice(options)()


def moment(random: Random, chain: Chain, it: Json) -> Json:
    """A second at, before or after the beginning or the end of some token."""
    made = [*chain.links, *([chain.use] if chain.use and "invocation" in it else [])]
    times = [draft.payload.get(name) for draft in made for name in ("nbf", "exp", "iat")]
    leeway = random.choice((0, 0, 1, 30, 60))
    edge = random.choice([time for time in times if type(time) is int] or [NOW])
    now = edge + random.choice((-1, 0, 1)) + random.choice((-leeway, 0, leeway))
    return {"now": min(max(0, now), LAST_SECOND), "leeway": leeway}


def revoked(random: Random, chain: Chain, token: str) -> list[str]:
    """Cids and DIDs, some of them of this chain."""
    payloads = [link.payload for link in chain.links]
    lineage = payloads[0].get("prf", [])
    names: list[Any] = [*map(cid, chain.texts), cid(token), UNRELATED.did, "0" * 64]
    names += lineage if isinstance(lineage, list) else []
    names += ["app_1", "app_2", "did:key:zA", "env_1"]
    names += [payload.get(name) for payload in payloads for name in ("iss", "aud")]
    good = [name for name in names if isinstance(name, str)]
    return random.sample(good, min(len(good), random.randrange(1, 3)))


def changed_call(random: Random, made: Scene) -> Json:
    """The call that was signed, or one like it; its members in another order."""
    cmd, resource, args = made.cmd, made.resource, dict(reversed(made.args.items()))
    match random.randrange(7):
        case 0:
            cmd = random.choice((cmd + "/x", random.choice(COMMANDS)))
        case 1:
            resource = edited(random, resource)
        case 2:
            args = edited(random, args)
        case 3:
            args = {**args, random.choice(("y", "state", "__proto__", "resource")): value(random)}
        case 4 if args:
            del args[random.choice([*args])]
        case 5:
            resource = dict(reversed(resource.items()))
    return {"cmd": cmd, "resource": resource, "args": args}


def changed_capability(random: Random, made: Scene) -> Json:
    above = made.cmd.rpartition("/")[0] or made.cmd
    cmds = (made.cmd, made.cmd, made.cmd + "/x", made.cmd + "x", above, random.choice(COMMANDS))
    resource = edited(random, made.resource) if random.random() < 0.5 else made.resource
    return {"cmd": random.choice(cmds), "resource": resource}


def edited(random: Random, fields: Json) -> Json:
    """Fields with one changed, missing or more."""
    if not fields:
        return {"more": 1}
    name = random.choice([*fields])
    if name == "path" and random.random() < 0.8:
        return {**fields, "path": odd_path(random, fields["path"])}
    match random.randrange(3):
        case 0:
            return {**fields, name: another(random, fields[name])}
        case 1:
            return {key: it for key, it in fields.items() if key != name}
    return {**fields, random.choice(("more", "constructor", "path")): value(random)}


def odd_path(random: Random, path: Any) -> Any:
    """A path beside, above or under this one, or none."""
    text = path if isinstance(path, str) else "src"
    return random.choice(
        (
            *(
                f"{text}/x",
                f"{text}x",
                text.rpartition("/")[0],
                "",
                "..",
                f"{text}/..",
                f"{text}/../x",
            ),
            *(f"/{text}", f"{text}/", f"./{text}", f"{text}//x", text.upper(), f"{text}\\x", "..."),
            *(
                f"{text}\0",
                f"{text}/.",
                f"{text}/.x",
                f"{text}\n",
                7,
                None,
                [text],
                random.choice(PATHS),
            ),
            *("\u202e", "a\x01b", "e\u0301", " ", "%2e%2e", "~"),
        )
    )
