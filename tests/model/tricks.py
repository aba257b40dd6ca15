"""Faults of chains: each trick takes a valid chain and returns a changed one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

from model.chains import (
    AGENTS,
    COMMANDS,
    HASTY,
    ISSUER,
    NOW,
    ODD_NAMES,
    OTHER_ISSUER,
    OTHER_SERVICE,
    SERVICE,
    UNRELATED,
    Scene,
    edited,
    odd_path,
)
from model.making import Chain, Draft, Json, answered
from model.rules import LAST_SECOND, MAX_TOKEN, MAX_USE
from model.statements import malformed, random_float, statement, value
from vectors import attack_json, attack_keys
from vectors.catalogue import FORGERIES, REARRANGEMENTS
from vectors.forge import b64, cid, did, unb64
from vectors.making import Making

Trick = Callable[[Random, Scene], Chain]


def rewritten(
    random: Random, made: Scene, change: Callable[[Draft], Draft], hop: int | None = None
) -> Chain:
    """Change one draft, and make anew what comes after, so that all else stays right; mostly."""
    chain = made.chain.copy()
    assert chain.use
    count = len(chain.links)
    at = random.randrange(count + 1) if hop is None else hop
    if at == count:
        chain.use = change(chain.use)
        return chain
    texts = [*chain.texts]
    chain.links[at] = change(chain.links[at])
    chain.signed(at)
    if random.random() < 0.1:
        chain.texts[at + 1 :] = texts[at + 1 :]
    return chain


def fields(draft: Draft, name: str) -> Json:
    """A member that is a map, or was one before another trick."""
    held = draft.payload.get(name)
    return held if isinstance(held, dict) else {}


def limited(meta: Json, made: Scene) -> Json:
    limits = meta.get("resource_constraint")
    return limits if isinstance(limits, dict) else made.resource


def a_member(random: Random, made: Scene) -> Chain:
    """Another value of a member, signed by the right key."""
    return rewritten(random, made, lambda draft: draft.changed(**member(random, draft, made)))


def member(random: Random, draft: Draft, made: Scene) -> Json:
    payload = draft.payload
    name = random.choice([*payload, "sub", "prf", "meta", "cmd", "exp", "nbf", "iat"])
    kind = random.random()
    if kind < 0.08:
        return {name: ...}
    if kind < 0.16 or name not in ODD:
        return {random.choice((name, "att", "__proto__", "prf", "sub")): value(random)}
    return {name: ODD[name](random, payload.get(name), made)}


def odd_person(random: Random, was: Any, made: Scene) -> Any:
    people = (ISSUER, OTHER_ISSUER, SERVICE, OTHER_SERVICE, UNRELATED, *AGENTS)
    return odd_did(random) if random.random() < 0.5 else random.choice(people).did


def odd_did(random: Random) -> str:
    """A DID that names no key, or one that is not permitted."""
    if random.random() < 0.4:
        return did(random.choice(POINTS))
    return random.choice([*attack_keys.SPELLED.values()])(UNRELATED.public)


def odd_nonce(random: Random, was: Any, made: Scene) -> Any:
    size = random.choice((0, 1, 7, 8, 128, 129, 255, 256, 257))
    return random.choice(("a", "\u00e9", "\U0001f600")) * size


def odd_command(random: Random, was: Any, made: Scene) -> Any:
    cmd = was if isinstance(was, str) else made.cmd
    above = cmd.rpartition("/")[0]
    near = (above, above, f"{cmd}/x", f"{cmd}x", f"{cmd}/", f"{cmd}\n", cmd[1:], cmd.upper())
    far = ("/", "", "/../a", "//a", "/.", "/\u00e9", "/a b", 7, None, [cmd])
    long = (f"/{'a' * size}" for size in (254, 255, 256))
    return random.choice((*near, *COMMANDS, *far, *long))


def odd_time(random: Random, was: Any, made: Scene) -> Any:
    base = was if isinstance(was, int) else NOW
    near = [base + random.choice((-61, -60, -1, 1, 60, 61)), NOW + random.choice((-1, 0, 1))]
    long = [NOW + 3539, NOW + 3540, NOW + 3600, NOW + 3601]
    far = [0, -1, 1, LAST_SECOND, LAST_SECOND + 1, 2**53 - 1, 2**53]
    return random.choice((*near * 6, *long, *far, NOW + 0.5, str(NOW), None, True, [], 1e21))


def odd_proof(random: Random, was: Any, made: Scene) -> Any:
    texts = made.chain.texts
    cids = [*map(cid, texts), "0" * 64, "f" * 64, "F" * 64, "0" * 63, "0" * 65, "bafy", 1, None]
    if random.random() < 0.15:
        return [f"{number:064x}" for number in range(random.choice((5, 8, 31, 32, 63, 64, 65)))]
    if random.random() < 0.3:
        return [*texts, *texts[: random.randrange(2)]]
    if random.random() < 0.15:
        return random.choice(({}, "", "0" * 64, None, 0, [[]], {"0" * 64: 1}))
    return random.choices(cids, k=random.randrange(3))


DEPTHS: Final = (0, 1, 2, 5, 7, 8, 30, 31, 32, 2**53 - 1, -1, 0.5, "0", None, True, ())


def odd_meta(random: Random, was: Any, made: Scene) -> Any:
    meta = was if isinstance(was, dict) else {}
    limits = limited(meta, made)
    kind = random.randrange(14)
    if kind > 8:
        return {**meta, **odd_service(random)}
    if kind < 4:
        path = {**limits, "path": odd_path(random, limits.get("path", "src"))}
        return {**meta, "resource_constraint": path if kind == 3 else edited(random, limits)}
    if kind == 4:
        return {**meta, "approval": random.choice(({"id": "env_1", "fingerprint": "0"}, None))}
    if kind == 5:
        return {**meta, random.choice(("resource_constraint", "lineage")): value(random)}
    if kind == 6:
        return value(random)
    depth = random.choice(DEPTHS)
    return {**meta, "lineage": {"depth": [] if depth == () else depth, "root": UNRELATED.did}}


def odd_service(random: Random) -> Json:
    """Another service, or none; open where it was closed; not forkable."""
    name = random.choice(("audience", "audience", "closed", "forkable"))
    if random.random() < 0.3:
        return {name: value(random)}
    if name == "audience":
        one = random.choice((SERVICE, OTHER_SERVICE, UNRELATED)).did
        return {name: random.choice((one, one, [one], f"{one} ", one[:-1], None, ""))}
    return {name: random.choice((False, False, True, None, "true", 1, {}, []))}


def odd_args(random: Random, was: Any, made: Scene) -> Any:
    args = {"resource": made.resource} | (was if isinstance(was, dict) else {})
    options: tuple[Any, ...] = (
        edited(random, args),
        value(random),
        {**args, "resource": value(random)},
        {**args, "resource": edited(random, made.resource)},
        {**args, random.choice(ODD_NAMES): value(random)},
    )
    return random.choice(options)


def odd_pol(random: Random, was: Any, made: Scene) -> Any:
    pol = was if isinstance(was, list) else []
    good = statement(random, {"cmd": made.cmd, "resource": made.resource, "args": made.args})
    match random.randrange(5):
        case 0:
            return value(random)
        case 1:
            return [*pol, ["not", good]]
        case 2:
            return [*pol, wrapped(random, good)]
    return [*pol, malformed(random, good)]


ODD: Final[dict[str, Callable[[Random, Any, Scene], Any]]] = {
    "iss": odd_person,
    "aud": odd_person,
    "sub": odd_person,
    "cmd": odd_command,
    "pol": odd_pol,
    "nonce": odd_nonce,
    "nbf": odd_time,
    "exp": odd_time,
    "iat": odd_time,
    "meta": odd_meta,
    "prf": odd_proof,
    "args": odd_args,
}
"""How a member goes wrong: a function of what it was."""


def wrapped(random: Random, good: Any) -> Any:
    """A statement deep within others."""
    for _ in range(random.randrange(1, 15)):
        good = random.choice((["not", ["not", good]], ["and", [good]], ["or", [good]]))
    return good


def a_statement(random: Random, made: Scene) -> Chain:
    """Policies of every shape, on any link."""
    subject = {"cmd": made.cmd, "resource": made.resource, "args": made.args}
    pol = [statement(random, subject, 3) for _ in range(random.randrange(1, 4))]
    if random.random() < 0.3:
        pol.insert(random.randrange(len(pol)), malformed(random, pol[0]))
    hop = random.randrange(len(made.chain.links))
    return rewritten(random, made, lambda draft: draft.changed(pol=pol), hop)


def a_resource(random: Random, made: Scene) -> Chain:
    """A narrower, wider or odd constraint, on any link."""

    def change(draft: Draft) -> Draft:
        meta = fields(draft, "meta")
        limits = edited(random, limited(meta, made))
        return draft.changed(meta={**meta, "resource_constraint": limits})

    return rewritten(random, made, change, random.randrange(len(made.chain.links)))


def a_signer(random: Random, made: Scene) -> Chain:
    """Signed by another key, in the right name or in its own."""
    people = (ISSUER, OTHER_ISSUER, UNRELATED, HASTY, *AGENTS)
    other = random.choice(people)

    def change(draft: Draft) -> Draft:
        named = draft.changed(iss=other.did) if random.random() < 0.5 else draft
        return replace(named, by=other)

    chain = rewritten(random, made, change)
    if random.random() < 0.5:
        return chain
    # The link before it delegates to that key, so that only the key is unusual.
    hop = random.randrange(len(chain.links))
    both = rewritten(
        random, replace(made, chain=chain), lambda draft: draft.changed(aud=other.did), hop
    )
    if hop + 1 < len(both.links):
        both.links[hop + 1] = replace(both.links[hop + 1].changed(iss=other.did), by=other)
        return both.signed(hop + 1)
    assert both.use
    both.use = replace(both.use.changed(iss=other.did), by=other)
    return both


GROUPS: Final = tuple(FORGERIES)

LITERALS: Final = (
    *attack_json.LITERALS.values(),
    *(b"1e+21", b"100000000000000000000", b"1e20", b"0.1", b"-0.1", b"0.10", b"5e-324", b"4e-324"),
    *(b"1e-7", b"1e-07", b"0.000001", b"1e-6", b"0e0", b"-1e400", b"1e-400", b"1e", b"--1"),
    *(b"9007199254740991", b"-9007199254740991", b"1.2345678901234567e+29", b"nul", b"true "),
    *(b'"\\n"', b'"\\u001f"', b'"\x7f"', b'"\\u007f"', b'"\\b\\f\\n\\r\\t"', b'"\\u0008"'),
    *(b'"\\"\\\\"', '"\u2028"'.encode(), b'"\\u2028"', '"\U0001f600"'.encode(), b'"\xc0\xaf"'),
    *(b'{"a":1,"b":2}', b'{"":0}', b'{"a":{},"b":[]}', b"[ ]", b'{"10":1,"9":2}', b"\t1", b"1\n"),
    *('{"\U0001f600":1,"\ue000":2}'.encode(), '{"\u00e9":1}'.encode(), b'{"__proto__":{"a":1}}'),
    *('{"a":"e\u0301"}'.encode(), '{"\u1e9b\u0323":1}'.encode(), '{"\u2126":1}'.encode()),
    *(b"{" + pairs + b"}" for pairs in attack_json.NAMES.values()),
)
"""Spellings of values: canonical ones beside those of the catalogue."""

POINTS: Final = (*attack_keys.POINTS.values(),)


def a_forgery(random: Random, made: Scene) -> Chain:
    """A forgery of the catalogue, on any token."""
    forgeries = FORGERIES[random.choice(GROUPS)]
    forge = forgeries[random.choice([*forgeries])]
    return rewritten(random, made, lambda draft: replace(draft, forge=forge))


def a_spelling(random: Random, made: Scene) -> Chain:
    """A value of any spelling, that is canonical or not, where any is allowed."""
    depth = random.choice((28, 29, 30, 31, 32, 33, 200, 3000))
    literals = (
        *([random.choice(LITERALS)] * 8),
        *(repr(random_float(random)).encode(), json.dumps(random_float(random) / 7).encode()),
        *(b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth),
    )
    forge = attack_json.literal(random.choice(literals))
    return rewritten(random, made, lambda draft: replace(draft, forge=forge))


def a_text(random: Random, made: Scene) -> Chain:
    """A token whose text, or whose payload before it is signed, was changed at any place."""
    at, bit, letter = random.random(), random.randrange(8), random.choice("AB-_+/=. \n\u00e9\0")
    kind = random.randrange(5)

    def forge(making: Making) -> str:
        if kind == 4:
            return making.spelled(lambda payload: flipped(payload, at, bit))
        text = making.token
        where = int(at * len(text))
        return (
            text[:where] + letter + text[where:],
            text[:where] + letter + text[where + 1 :],
            text[:where] + text[where + 1 :],
            text[:where],
        )[kind]

    return rewritten(random, made, lambda draft: replace(draft, forge=forge))


def flipped(data: bytes, at: float, bit: int) -> bytes:
    where = int(at * len(data))
    return data[:where] + bytes([data[where] ^ 1 << bit]) + data[where + 1 :]


def a_signature(random: Random, made: Scene) -> Chain:
    """A flipped bit, or an R of small order with the S that fits for some verifiers."""
    point, at, bit = random.choice(POINTS), random.random(), random.randrange(8)

    def forge(making: Making) -> str:
        signed, _, good = making.token.rpartition(".")
        answer = answered(making.party, point, signed.encode())
        return f"{signed}.{b64(answer if at < 0.5 else flipped(unb64(good), at * 2 - 1, bit))}"

    return rewritten(random, made, lambda draft: replace(draft, forge=forge))


def a_size(random: Random, made: Scene) -> Chain:
    """A token as large as one may be, a letter more or a letter less."""
    texts, last = made.chain.texts, len(made.chain.links)
    hop = random.randrange(last + 1)
    more = {} if hop == 0 else {"prf": texts if hop == last else [*map(cid, texts[hop - 1 : hop])]}

    def change(draft: Draft) -> Draft:
        where = "args" if "args" in draft.payload else "meta"

        def padded(size: int) -> Draft:
            return draft.changed(**{where: {**fields(draft, where), "pad": "x" * size}})

        room = (MAX_TOKEN - len(padded(0).token(**more))) * 3 // 4
        return padded(max(0, room + random.randint(-2, 3)))

    return rewritten(random, made, change, hop)


def an_order(random: Random, made: Scene) -> Chain:
    """Links that are missing, twice, in another order, or from another chain."""
    chain = made.chain.copy()
    texts = chain.texts
    if not texts:
        return chain
    at, other = (random.randrange(min(len(texts), len(chain.links))) for _ in "ab")
    match random.randrange(10):
        case 0:
            texts[at], texts[other] = texts[other], texts[at]
        case 1:
            texts.insert(at, texts[other])
        case 2:
            assert chain.use
            texts[at] = random.choice(("x", "", chain.use.token(prf=texts[:1])))
        case 3:
            texts.extend(texts[-1:] * random.choice((1, 8, 32)))
        case 4:
            texts[at] = made.chain.links[at].changed(nonce="another").token()
        case _:
            chain.texts = random.choice([*REARRANGEMENTS.values()])(texts, at)
    return chain


def unlinked(random: Random, made: Scene) -> Chain:
    """Links without `prf`, as the hosted service writes them."""
    chain = made.chain.copy()
    for at in range(1, len(chain.links)):
        if random.random() < 0.7:
            chain.links[at] = replace(chain.links[at].changed(prf=...), linked=False)
    return chain.signed()


def own_proof(random: Random, made: Scene) -> Chain:
    """A link that names another proof than the link before it."""
    proof = odd_proof(random, None, made)

    def change(draft: Draft) -> Draft:
        return replace(draft.changed(prf=proof), linked=False)

    return rewritten(random, made, change)


def an_approval(random: Random, made: Scene) -> Chain:
    """An approval at some link, most often at the last, where it is right."""
    last = len(made.chain.links) - 1
    hop = last if random.random() < 0.5 else random.randrange(last + 1)
    approval = random.choice(({"id": "env_1", "fingerprint": "0"}, None, {}))

    def change(draft: Draft) -> Draft:
        return draft.changed(meta={**fields(draft, "meta"), "approval": approval})

    return rewritten(random, made, change, hop)


def a_time(random: Random, made: Scene) -> Chain:
    """A beginning or an end that is a little off."""

    def change(draft: Draft) -> Draft:
        start = "iat" if "iat" in draft.payload else "nbf"
        name = random.choice((start, "exp"))
        return draft.changed(**{name: odd_time(random, draft.payload.get(name), made)})

    return rewritten(random, made, change)


def a_lineage(random: Random, made: Scene) -> Chain:
    """A root that took the place of others, as many as there may be, or more."""
    count = random.choice((0, 1, 5, 30, 31, 63, 64, 65))
    lineage = [f"{number:064x}" for number in range(count)]
    members = {} if random.random() < 0.3 else {"depth": random.choice((0, 1, 2, 7, 31))}

    def change(draft: Draft) -> Draft:
        return draft.changed(prf=lineage, meta={**fields(draft, "meta"), "lineage": members})

    return rewritten(random, made, change, 0)


def a_lifetime(random: Random, made: Scene) -> Chain:
    """A token that lasts as long as one may, or ends with its chain, or as it begins."""

    def change(draft: Draft) -> Draft:
        start = "iat" if "iat" in draft.payload else "nbf"
        begins = draft.payload.get(start)
        begins = begins if isinstance(begins, int) else NOW
        above = made.chain.links[-1].payload.get("exp")
        ends = [begins, begins + 1, begins + MAX_USE, begins + MAX_USE + 1]
        ends += [above, above + 1] if isinstance(above, int) else []
        return draft.changed(exp=random.choice(ends))

    return rewritten(random, made, change)


def two(random: Random, made: Scene) -> Chain:
    """Two things wrong at once, often at two hops."""
    once = replace(made, chain=random.choice(ONE)(random, made))
    return random.choice(ONE)(random, once)


ONE: Final[tuple[Trick, ...]] = (
    *(a_member, a_member, a_member, a_statement, a_statement, a_statement, a_resource, a_resource),
    *(
        a_signer,
        a_forgery,
        a_forgery,
        a_forgery,
        a_spelling,
        a_text,
        a_size,
        a_signature,
        an_order,
        unlinked,
    ),
    *(own_proof, an_approval, a_time, a_lineage, a_lifetime),
)
TRICKS: Final = (*ONE, two, two, two, two)
