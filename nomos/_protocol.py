"""Messages between Python and `nomos-ucan`; their JSON Schema and TypeScript come from here.

A request is one line of JSON, and so is its answer: `{"id", "protocol", "op", …}` is answered by
`{"id", "ok": true, …}` or `{"id", "ok": false, "code", "message", "hop"?}`. Only `fork` is answered
in several lines: all but the last have `"more": true`. `tools/generate_protocol.py` writes
`ucan-bin/protocol.schema.json` from these models; the TypeScript types and validators are generated
from that file.

Optional fields are absent, never null: a token with `"sub": null` is not a token.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from nomos._identifiers import SHA256_FORM
from nomos._limits import MAX_INTEGER, MAX_LINKS
from nomos.models import (
    LEEWAY_SECONDS,
    MAX_CHAIN_DEPTH,
    MAX_LEEWAY_SECONDS,
    Command,
    Did,
    VerificationCode,
)

PROTOCOL: Literal[1] = 1
"""The protocol version of both sides, raised by any change that an older side would misread."""

MAX_LINE = 1024 * 1024
"""Bytes in one request line; the signing binary rejects a longer one."""

Json = Any
"""Any JSON value. Its content is restricted by the canonical form (RFC 8785), not by a type."""

_SeedText = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[_SeedText, Field(repr=False)]
"""An Ed25519 private key as 32 bytes in lower-case hex (RFC 8032, section 5.1.5)."""

Seconds = Annotated[int, Field(ge=0, le=253402300799)]
"""Unix time in whole seconds, up to the year 9999."""

MAX_FORKED: Final = 1000
"""Children in one `fork`, and links for all of them together."""

MAX_FORKED_LINE: Final = 256
"""Links in one line of the answer to a `fork`."""

ChainIndex = Annotated[int, Field(ge=0, le=63)]
"""The place of a chain among those of a `fork`."""

Nonce = Annotated[str, Field(min_length=1, max_length=256)]

Name = Annotated[str, Field(min_length=1, max_length=64)]

Hash = Annotated[str, Field(pattern=f"^{SHA256_FORM}$")]
"""A sha256 in lower-case hex."""

Code = Annotated[str, Field(pattern=r"^[a-z]+(_[a-z]+)*$", max_length=64)]
"""An open set of codes for programs, so that an older reader accepts a newer writer's codes."""

Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
"""A whole number that every JSON reader reads exactly."""


class Wire(BaseModel):
    """Base of all messages: immutable, without undeclared members, and never printing a secret."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        json_schema_serialization_defaults_required=True,
        # NaN and infinities must reach the binary unchanged, which rejects them; pydantic's
        # default would turn them into null and change what gets signed.
        ser_json_inf_nan="constants",
    )


class Delegation(Wire):
    """The payload of a token that delegates authority (UCAN delegation, JWT form)."""

    iss: Did
    aud: Did
    sub: Did | None = Field(default=None, exclude_if=lambda v: v is None)
    cmd: Command
    pol: list[Json]
    nonce: Nonce
    nbf: Seconds
    exp: Seconds
    meta: dict[str, Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    prf: list[str] | None = Field(default=None, exclude_if=lambda v: v is None)


class Invocation(Wire):
    """The payload of a token that uses authority at one service (UCAN invocation, JWT form).

    The nonce has at least 8 characters; `invoke` signs none under 12.
    """

    iss: Did
    aud: Did
    sub: Did
    cmd: Command
    args: dict[str, Json]
    nonce: Nonce
    iat: Seconds
    exp: Seconds
    prf: list[str]


class Checkpoint(Wire):
    """The payload of a token that signs the end of one of a tenant's logs.

    The head of a log contains the hash of the row before it, and so on, so one signature covers all
    rows. The log `keys` lists the keys that may sign: each row's checkpoint is signed by the key of
    the row before. `nonce` is chosen by a reader, to show that the checkpoint was made after its
    request.
    """

    iss: Did
    log: Literal["audit", "revocations", "keys"]
    tenant: Name
    seq: Count
    head: Hash
    iat: Seconds
    nonce: Name | None = Field(default=None, exclude_if=lambda v: v is None)


class Receipt(Wire):
    """The payload of a token in which a verifier signs its decision about an invocation.

    It contains hashes and names, never a token: `resource_hash` and `args_hash` are the sha256 of
    the canonical JSON of the call's resource and arguments, `chain` has the cids of the chain, root
    first, and `invocation` that of the invocation. `outcome` is `allow` or the code of a refusal,
    with the `hop` at fault. An allow names resource, agent, root, chain and invocation. A refusal
    names them as far as they could be read, agent and root only if the signatures were valid.
    """

    iss: Did
    service: Did
    cmd: Command
    resource_hash: Hash | None = Field(default=None, exclude_if=lambda v: v is None)
    args_hash: Hash | None = Field(default=None, exclude_if=lambda v: v is None)
    outcome: Code
    hop: int | None = Field(default=None, ge=0, le=MAX_LINKS, exclude_if=lambda v: v is None)
    agent: Did | None = Field(default=None, exclude_if=lambda v: v is None)
    root: Did | None = Field(default=None, exclude_if=lambda v: v is None)
    chain: list[Hash] | None = Field(
        default=None, min_length=1, max_length=MAX_LINKS, exclude_if=lambda v: v is None
    )
    invocation: Hash | None = Field(default=None, exclude_if=lambda v: v is None)
    iat: Seconds


class Call(Wire):
    """One concrete call, as a service rebuilt it from the request that it received."""

    cmd: Command
    resource: dict[str, Json]
    args: dict[str, Json]


class RequestedCapability(Wire):
    """A requested capability: a command, or all commands under it, on a resource."""

    cmd: Command
    resource: dict[str, Json]


class Request(Wire):
    """Base of all requests."""

    answer: ClassVar[type[Answer]]

    id: int = Field(ge=0, le=MAX_INTEGER, default=0)
    protocol: int = PROTOCOL


class Answer(Wire):
    """Base of all answers."""

    id: int
    ok: Literal[True] = True


class Hello(Request):
    """Ask for the binary's version; the first request to every new process."""

    op: Literal["hello"] = "hello"


class HelloAnswer(Answer):
    """`version` of the package, `speaks` (the protocol version), `runtime` such as `bun 1.x`."""

    version: str
    speaks: int
    runtime: str
    ops: list[str]


class GenerateKey(Request):
    """Make a key inside the binary and keep it under its DID."""

    op: Literal["generate_key"] = "generate_key"


class GenerateKeyAnswer(Answer):
    """`seed` lets the caller load the key again after a restart of the binary."""

    key: Did
    seed: Seed


class LoadKey(Request):
    """Load a key into the binary, which keeps it under its DID."""

    op: Literal["load_key"] = "load_key"
    seed: Seed


class LoadKeyAnswer(Answer):
    key: Did


class ForgetKey(Request):
    """Delete a key from the binary."""

    op: Literal["forget_key"] = "forget_key"
    key: Did


class ForgetKeyAnswer(Answer):
    forgotten: bool


class Delegate(Request):
    """Sign a delegation; `payload.iss` must be `key`."""

    op: Literal["delegate"] = "delegate"
    key: Did
    payload: Delegation
    allow_vacuous: bool = Field(
        default=False,
        description="Sign policy statements that hold for anything, such as an empty `or`.",
    )


class Invoke(Request):
    """Sign an invocation; `payload.iss` must be `key`.

    With `verify_at`, the token is verified at that time, as `verify` does for a PDP that is
    `payload.aud` and trusts `payload.sub`, and a refusal is the answer. It has a `hop`; the refusal
    of a payload that cannot be signed has none.
    """

    op: Literal["invoke"] = "invoke"
    key: Did
    payload: Invocation
    verify_at: Seconds | None = Field(default=None, exclude_if=lambda v: v is None)
    max_depth: int | None = Field(
        default=None,
        ge=1,
        le=32,
        exclude_if=lambda v: v is None,
        description="Of the chain, where it is verified; absent: 8.",
    )


class Signed(Answer):
    """`cid` is the lower-case hex sha256 of the whole JWT text."""

    jwt: str
    cid: str


class ForkLink(Wire):
    """One capability of a child: the delegation to be signed.

    `chain` is the index, among the chains of the request, of the one to delegate from; if it cannot
    be, the first of `alternatives` that can is. Without `constraint` the link covers what its chain
    covers; without `exp` it ends when its chain does. Statements of `pol` that evidently permit
    more than the chain's are refused, with `statement` and `requested`.
    """

    chain: ChainIndex = 0
    alternatives: list[ChainIndex] | None = Field(
        default=None, max_length=63, exclude_if=lambda v: v is None
    )
    cmd: Command
    constraint: dict[str, Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    pol: list[Json]
    nonce: Nonce
    exp: Seconds | None = Field(default=None, exclude_if=lambda v: v is None)


class ForkChild(Wire):
    """One child and its capabilities; without `aud` the binary makes a key for the child."""

    aud: Did | None = Field(default=None, exclude_if=lambda v: v is None)
    links: list[ForkLink] = Field(min_length=1)


class Fork(Request):
    """Delegate to several children; either all of them or none.

    Each chain is verified as in `verify`, but the root's issuer is not checked; it must have been
    delegated to `key`. Every link is checked against its chain before any is signed.
    """

    op: Literal["fork"] = "fork"
    key: Did
    chains: list[list[str]] = Field(min_length=1, max_length=64)
    children: list[ForkChild] = Field(min_length=1, max_length=MAX_FORKED)
    now: Seconds
    max_depth: int = Field(default=MAX_CHAIN_DEPTH, ge=1, le=MAX_LINKS)
    allow_missing_prf: bool = Field(
        default=False, description="Accept links without `prf`, as the hosted service writes them."
    )
    allow_vacuous: bool = Field(
        default=False,
        description="Sign policy statements that hold for anything, such as an empty `or`.",
    )


class ForkedLink(Wire):
    """The new last link of a chain; `cid` is the sha256 of its text.

    `chain` is the index of its chain, if that is one of the alternatives.
    """

    jwt: str
    cid: str
    chain: ChainIndex | None = Field(default=None, exclude_if=lambda v: v is None)


class Forked(Wire):
    """The links of one child, in the order requested; `seed` if its key was made here."""

    aud: Did
    seed: _SeedText | None = Field(default=None, exclude_if=lambda v: v is None, repr=False)
    links: list[ForkedLink]


class ForkAnswer(Answer):
    """Some of the children, in the order requested; with `more`, another answer follows."""

    children: list[Forked]
    more: bool


class Verify(Request):
    """Verify an invocation with its chain, or a bare chain of delegations.

    Exactly one of `invocation` and `chain` is given. With `call`, the invocation must also be for
    that call: same command, equal resource, every signed argument present and equal, and every
    `pol` statement holding for it.

    An invocation is for the service that the root's `meta.audience` names, whatever the later links
    say. Without `pdp`, the root must also have `meta.closed`.

    With `requested` instead of `call`, the holder requests a capability: it must be within the
    chain's command and constraint, and the chain must not come from an approval. Policies are not
    evaluated then, because every delegation from the chain carries them. The invocation proves who
    requests it; the caller compares its resource and arguments.
    """

    op: Literal["verify"] = "verify"
    invocation: str | None = Field(default=None, exclude_if=lambda v: v is None)
    chain: list[str] | None = Field(default=None, exclude_if=lambda v: v is None)
    now: Seconds
    leeway: int = Field(default=LEEWAY_SECONDS, ge=0, le=MAX_LEEWAY_SECONDS)
    max_depth: int = Field(default=MAX_CHAIN_DEPTH, ge=1, le=MAX_LINKS)
    trusted_issuers: list[Did] | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="Absent: the root's issuer is not checked (for a bare chain only).",
    )
    audience: Did | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="The verifying service (invocation) or the expected holder (chain).",
    )
    revoked: list[str] = Field(
        default_factory=list, description="Revoked cids and issuer DIDs known to the caller."
    )
    revocations_age: int | None = Field(
        default=None,
        ge=0,
        exclude_if=lambda v: v is None,
        description="Seconds since the caller's view of revocations was complete; absent: now.",
    )
    revocations_max_age: int = Field(default=5, ge=0)
    allow_missing_prf: bool = Field(
        default=False,
        description=(
            "Accept tokens as the hosted service writes them: links without `prf`, and roots "
            "without `meta.audience`."
        ),
    )
    pdp: bool | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description=(
            "The verifier decides about the call by policy itself. Absent: it does not, and an "
            "invocation needs a root with `meta.closed`."
        ),
    )
    call: Call | None = Field(default=None, exclude_if=lambda v: v is None)
    requested: RequestedCapability | None = Field(default=None, exclude_if=lambda v: v is None)


class Verified(Answer):
    """The content of a valid token. Everything here is covered by a verified signature.

    `agent` is the last audience, `root` the root's issuer, `meta` the root's meta. `depth` counts
    the delegations of the chain and those that the root replaces (`meta.lineage.depth`). `cids` are
    the chain's, root first; `lineage` the cids that the root names in `prf`; `constraint` the
    intersection of the chain's constraints; `expires_at` the earliest expiry in Unix seconds.
    """

    agent: Did
    root: Did
    cmd: Command
    depth: int
    cids: list[str]
    lineage: list[str]
    expires_at: int
    constraint: dict[str, Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    meta: dict[str, Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    resource: dict[str, Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    args: dict[str, Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    nonce: str | None = Field(default=None, exclude_if=lambda v: v is None)
    cid: str | None = Field(default=None, exclude_if=lambda v: v is None)


class Inspect(Request):
    """Read a token without trusting it: its structure is checked, its signatures are not."""

    op: Literal["inspect"] = "inspect"
    token: str


class Inspected(Answer):
    """`cids` are those to look up for revocation: of the token, its chain and its lineage.

    For an invocation the last two come from `prf`; for a delegation they are the cids in its `prf`.
    """

    kind: Literal["delegation", "invocation"]
    header: dict[str, Json]
    payload: dict[str, Json]
    cid: str
    cids: list[str]


class CheckPolicy(Request):
    """Check policy statements before anything is decided about them.

    Statements that no token can have are refused, and so are those that hold vacuously, such as an
    empty `or`. The message begins with the place: `pol[0][1]`.
    """

    op: Literal["check_policy"] = "check_policy"
    pol: list[Json]


class PolicyChecked(Answer):
    """The statements as a token has them: 9.0 is 9."""

    pol: list[Json]


class SignCheckpoint(Request):
    """Sign a checkpoint; `payload.iss` must be `key`."""

    op: Literal["sign_checkpoint"] = "sign_checkpoint"
    key: Did
    payload: Checkpoint


class VerifyCheckpoint(Request):
    """Verify a checkpoint's text and signature, and that `issuers` has its signer.

    The caller checks its time, its nonce and its place in the log.
    """

    op: Literal["verify_checkpoint"] = "verify_checkpoint"
    token: str
    issuers: list[Did]


class CheckpointVerified(Answer):
    """The checkpoint's content, all of it covered by the verified signature."""

    checkpoint: Checkpoint
    cid: str


class SignReceipt(Request):
    """Sign a receipt; `payload.iss` must be `key`."""

    op: Literal["sign_receipt"] = "sign_receipt"
    key: Did
    payload: Receipt


class VerifyReceipt(Request):
    """Verify a receipt's text and signature, and that `issuers` has its signer.

    The caller checks its service, its time and its hashes.
    """

    op: Literal["verify_receipt"] = "verify_receipt"
    token: str
    issuers: list[Did]


class ReceiptVerified(Answer):
    """The receipt's content, all of it covered by the verified signature."""

    receipt: Receipt
    cid: str


RefusalCode = (
    VerificationCode
    | Literal[
        "protocol",
        "invalid_request",
        "unknown_op",
        "unknown_key",
        "invalid_key",
        "issuer_mismatch",
        "vacuous_policy",
        "too_large",
        "internal",
    ]
)


class Refused(Wire):
    """A refusal. `hop` is the index in the chain: the root is 0, the invocation is last.

    `field` is the claim that failed, or the statement, such as `pol[1]`. `wanted` and `found` are
    the beginnings of the JSON text of the required and the actual value; `wanted` may have words
    around it. `statement` is the whole statement, and `requested` has the requested statements that
    permit more than it, unless their text has more than 4096 characters.
    """

    id: int | None = None
    ok: Literal[False] = False
    code: RefusalCode
    message: str
    hop: int | None = Field(default=None, exclude_if=lambda v: v is None)
    field: str | None = Field(default=None, exclude_if=lambda v: v is None)
    wanted: str | None = Field(default=None, exclude_if=lambda v: v is None)
    found: str | None = Field(default=None, exclude_if=lambda v: v is None)
    statement: list[Json] | None = Field(default=None, exclude_if=lambda v: v is None)
    requested: list[Json] | None = Field(default=None, exclude_if=lambda v: v is None)


Hello.answer = HelloAnswer
GenerateKey.answer = GenerateKeyAnswer
LoadKey.answer = LoadKeyAnswer
ForgetKey.answer = ForgetKeyAnswer
Delegate.answer = Signed
Invoke.answer = Signed
Fork.answer = ForkAnswer
Verify.answer = Verified
Inspect.answer = Inspected
CheckPolicy.answer = PolicyChecked
SignCheckpoint.answer = Signed
VerifyCheckpoint.answer = CheckpointVerified
SignReceipt.answer = Signed
VerifyReceipt.answer = ReceiptVerified

AnyRequest = Annotated[
    Hello
    | GenerateKey
    | LoadKey
    | ForgetKey
    | Delegate
    | Invoke
    | Fork
    | Verify
    | Inspect
    | CheckPolicy
    | SignCheckpoint
    | VerifyCheckpoint
    | SignReceipt
    | VerifyReceipt,
    Field(discriminator="op"),
]
