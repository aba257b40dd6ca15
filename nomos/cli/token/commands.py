"""`nomos token`: what is in a token, whether it is to be believed, and why not.

No server is needed: the signing binary decides, here as everywhere. Tokens come from the standard
input or a file, and none of them is printed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nomos._limits import MAX_LINKS
from nomos.cli.console import AsJson, stderr, stdout
from nomos.errors import ChainError, ConfigurationError, NomosError
from nomos.models import MAX_CHAIN_DEPTH

if TYPE_CHECKING:
    from nomos.cli.token.input import TokenInput
    from nomos.cli.token.inspect import Ask
    from nomos.cli.token.verdict import TokenVerdict, VerificationTerms

group = typer.Typer(help="See what a token says, and whether it holds.", no_args_is_help=True)

Source = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]",
        help="A file with the token, or with a JSON array of delegations; - or nothing reads the "
        "standard input.",
        show_default=False,
    ),
]
Issuer = Annotated[
    list[str],
    typer.Option(
        help="A DID to trust as the root's issuer, or as the signer of a receipt; again for more."
    ),
]
Audience = Annotated[
    str | None,
    typer.Option(
        help="The service's DID; of a chain, its holder's. Only a receipt can do without.",
        show_default=False,
    ),
]
Command = Annotated[
    str | None, typer.Option(help="The call's command: /github/issue/list.", show_default=False)
]
Resource = Annotated[
    str | None, typer.Option(help="The call's resource, as JSON.", show_default=False)
]
Args = Annotated[
    str | None, typer.Option(help="The call's other arguments, as JSON.", show_default=False)
]
ControlUrl = Annotated[
    str | None,
    typer.Option(
        help="Ask this control plane's feed of revocations, with the API key in NOMOS_API_KEY (any "
        "role) or --key-file. It is the feed of one --issuer; a receipt needs none.",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="A file (0600) with an API key for the feed.", show_default=False),
]
Revoked = Annotated[
    list[str] | None,
    typer.Option(help="A cid, DID or other identifier that is revoked.", show_default=False),
]
Leeway = Annotated[int, typer.Option(min=0, max=60, help="Seconds that clocks may differ.")]
MaxDepth = Annotated[
    int, typer.Option(min=1, max=MAX_LINKS, help="Delegations in a chain, at most.")
]
At = Annotated[
    str | None,
    typer.Option(help="Judge as of this time: 2026-01-05T09:00:00Z.", show_default=False),
]
AcceptUnlinked = Annotated[
    bool,
    typer.Option(
        "--accept-unlinked",
        help="Accept links without prf and roots for no service, as hosted services write.",
    ),
]
AsPdp = Annotated[
    bool,
    typer.Option(
        "--pdp", help="Judge as a PDP, which decides by policy again; others need a closed grant."
    ),
]


@group.command()
def inspect(source: Source = None, *, as_json: AsJson = False) -> None:
    """Draw a token's chain: who gave what to whom, until when, and what is wrong with it.

    Nobody is trusted here, so nothing is verified: that is what
    `nomos token verify` is for.

    0: nothing is wrong with it. 1: something is. 2: it cannot be read.
    """
    from nomos.cli.token import inspect as inspecting
    from nomos.cli.token import view

    def one(given: TokenInput, ask: Ask) -> bool:
        now = int(time.time())
        if given.kind == "receipt":
            receipt = inspecting.inspect_receipt(given, ask, now)
            if as_json:
                _line(view.receipt_as_json(receipt))
            else:
                view.receipt(receipt, stdout)
            return receipt.finding is None
        look = inspecting.inspect_chain(given, ask, now)
        if as_json:
            _line(view.as_json(look))
        else:
            view.print_report(look, stdout)
        return look.holds

    _each(source, one, as_json=as_json)


def _judging(
    name: str, show: Callable[[TokenVerdict, TokenInput, VerificationTerms, bool], None], about: str
) -> None:
    """Add a command that judges tokens on the terms that its options name."""

    @group.command(name, help=about)
    def command(
        source: Source = None,
        *,
        issuer: Issuer,
        audience: Audience = None,
        command: Command = None,
        resource: Resource = None,
        args: Args = None,
        control_url: ControlUrl = None,
        key_file: KeyFile = None,
        revoked: Revoked = None,
        leeway: Leeway = 0,
        max_depth: MaxDepth = MAX_CHAIN_DEPTH,
        at: At = None,
        accept_unlinked: AcceptUnlinked = False,
        pdp: AsPdp = False,
        as_json: AsJson = False,
    ) -> None:
        from nomos.cli.token import options as given_options
        from nomos.cli.token import verdict as judging

        options = given_options.Options(
            issuers=issuer,
            audience=audience,
            command=command,
            resource=resource,
            args=args,
            revoked=revoked or [],
            control_url=control_url,
            key_file=key_file,
            leeway=leeway,
            max_depth=max_depth,
            at=at,
            accept_unlinked=accept_unlinked,
            pdp=pdp,
        )

        def one(given: TokenInput, ask: Ask) -> bool:
            with given_options.open_terms(options, given) as terms:
                verdict = judging.verdict(given, terms, ask)
                show(verdict, given, terms, as_json)
            return verdict.ok

        _each(source, one, as_json=as_json)


def _verdict(
    verdict: TokenVerdict,
    given: TokenInput,
    terms: VerificationTerms,
    as_json: bool,  # noqa: FBT001
) -> None:
    from nomos.cli.token import verdict_view

    if as_json:
        _line(verdict.as_json())
    else:
        verdict_view.render_verdict(verdict, terms, stdout)


def _story(
    verdict: TokenVerdict,
    given: TokenInput,
    terms: VerificationTerms,
    as_json: bool,  # noqa: FBT001
) -> None:
    from nomos.cli.token import verdict_view

    if as_json:
        _line({**verdict.as_json(), "text": verdict_view.text(verdict, given, terms)})
    else:
        verdict_view.render_report(verdict, given, terms, stdout)


_judging(
    "verify",
    _verdict,
    """Say whether a service that trusts these issuers would accept a token, and why not.

    Nothing is used up: whether a token was used before is only known to the
    service itself. Without --command and --resource no call is checked. Of a
    receipt: whether it is genuine, and whether it records an allow.

    0: it would; a receipt is genuine, and of a call that was allowed.
    1: it would not; a receipt is not genuine, or of a call that was refused.
    2: the question or the token cannot be read.
    """,
)
_judging(
    "why",
    _story,
    """Tell the whole story of a token and its verdict, as text for people.

    It is what `nomos.Verifier.why` returns, for a chain too, and then what was
    not checked; of a receipt it is what `nomos token verify` says.

    0, 1 and 2 are as in `nomos token verify`.
    """,
)


def _each(
    source: list[str] | None, one: Callable[[TokenInput, Ask], bool], *, as_json: bool
) -> None:
    """Do something with each token that was given; exit with 1 if one of them is not good."""
    from nomos._io.signer import Signer, shared
    from nomos.cli.token.input import read_token

    try:
        every, good = read_token(source or []), True
        for number, given in enumerate(every):
            if number and not as_json:
                stdout.print()
            good &= one(given, Signer(shared()).ask)
    except NomosError as error:
        raise _failed(error, as_json=as_json) from None
    if not good:
        raise typer.Exit(1)


def _line(value: Any) -> None:
    stdout.print(Text(json.dumps(value)))


def _failed(error: NomosError, *, as_json: bool) -> typer.Exit:
    """Say why there is no answer: 1 for JSON that is no chain, 2 for anything else."""
    setting = f" ({error.setting})" if isinstance(error, ConfigurationError) else ""
    stderr.print(Text.assemble(("error: ", "bold red"), str(error), (setting, "dim")))
    if not isinstance(error, ChainError):
        return typer.Exit(2)
    if as_json:
        _line({"kind": "chain", "verified": False, "code": error.code, "message": str(error)})
    return typer.Exit(1)
