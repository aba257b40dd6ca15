"""`nomos token`: inspect and verify tokens.

The signing binary verifies; no server is needed. Tokens are read from stdin or a file, and are
never printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nomos._limits import MAX_LINKS
from nomos.cli.console import print_json, stderr, stdout
from nomos.cli.options import AsJson
from nomos.errors import ChainError, ConfigurationError, NomosError
from nomos.models import MAX_CHAIN_DEPTH

if TYPE_CHECKING:
    from nomos.cli.token.input import TokenInput
    from nomos.cli.token.inspect import Ask

group = typer.Typer(
    help="Inspect and verify tokens: invocations, chains and receipts.", no_args_is_help=True
)

Source = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]",
        help="File with the token, or with a JSON array of delegations. Default: stdin, also `-`.",
    ),
]
Issuer = Annotated[
    list[str],
    typer.Option(help="DID of a trusted issuer: of the root, or of a receipt. Repeatable."),
]
Audience = Annotated[
    str | None,
    typer.Option(help="DID of the service; for a chain, of its holder. Not needed for receipts."),
]
Command = Annotated[
    str | None, typer.Option(help="Command of the call, such as /github/issue/list.")
]
Resource = Annotated[str | None, typer.Option(help="Resource of the call, as a JSON object.")]
Args = Annotated[str | None, typer.Option(help="Other arguments of the call, as a JSON object.")]
ControlUrl = Annotated[
    str | None,
    typer.Option(
        help="Control plane to fetch revocations from, with the API key in --key-file or "
        "$NOMOS_API_KEY (any role). Needs exactly one --issuer. Not used for receipts. "
        "Default: revocations are not checked."
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option(help="File (mode 0600) with an API key for the revocation feed.")
]
Revoked = Annotated[
    list[str] | None, typer.Option(help="Revoked cid, DID or other id. Repeatable.")
]
Leeway = Annotated[int, typer.Option(min=0, max=60, help="Allowed clock difference in seconds.")]
MaxDepth = Annotated[
    int, typer.Option(min=1, max=MAX_LINKS, help="Maximum number of delegations in a chain.")
]
At = Annotated[
    str | None,
    typer.Option(help="Time to verify at: 2026-01-05T09:00:00Z, or Unix seconds. Default: now."),
]
AllowMissingPrf = Annotated[
    bool,
    typer.Option(
        "--allow-missing-prf",
        help="Accept links without prf, and roots without a service, as some hosted services "
        "issue them.",
    ),
]
AsPdp = Annotated[
    bool,
    typer.Option(
        "--pdp",
        help="Verify as a PDP, which checks policy on each call. Other services need a closed "
        "grant.",
    ),
]


@group.command()
def inspect(source: Source = None, *, as_json: AsJson = False) -> None:
    """Show a token's chain: each delegation, its expiry, and every problem.

    Signatures are checked, but no issuer is trusted: use `nomos token verify`
    for a verdict.

    Exit status: 0 no problem was found, 1 a problem was found, 2 the token
    cannot be read.
    """
    from nomos.cli.token import inspect as inspecting
    from nomos.cli.token import view

    def one(given: TokenInput, ask: Ask) -> bool:
        now = int(time.time())
        if given.kind == "receipt":
            receipt = inspecting.inspect_receipt(given, ask, now)
            if as_json:
                print_json(view.receipt_as_json(receipt))
            else:
                view.receipt(receipt, stdout)
            return receipt.finding is None
        look = inspecting.inspect_chain(given, ask, now)
        if as_json:
            print_json(view.as_json(look))
        else:
            view.print_report(look, stdout)
        return look.holds

    _each(source, one, as_json=as_json)


def _add_verifying_command(name: str, about: str, *, explain: bool) -> None:
    """Add a command that verifies tokens on the terms in its options; `explain` adds a report."""

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
        allow_missing_prf: AllowMissingPrf = False,
        pdp: AsPdp = False,
        as_json: AsJson = False,
    ) -> None:
        from nomos.cli.token import options as given_options
        from nomos.cli.token import verdict as judging
        from nomos.cli.token import verdict_view

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
            allow_missing_prf=allow_missing_prf,
            pdp=pdp,
        )

        def one(given: TokenInput, ask: Ask) -> bool:
            with given_options.open_terms(options, given) as terms:
                verdict = judging.verdict(given, terms, ask)
                if as_json:
                    text = {"text": verdict_view.text(verdict, given, terms)} if explain else {}
                    print_json(verdict.as_json() | text)
                elif explain:
                    verdict_view.render_report(verdict, given, terms, stdout)
                else:
                    verdict_view.render_verdict(verdict, terms, stdout)
            return verdict.ok

        _each(source, one, as_json=as_json)


_add_verifying_command(
    "verify",
    """Verify a token as a service would, and print why it is denied.

    The token is not used up. Whether it was used before is known to the
    service only. Without --command and --resource, no call is checked. A
    receipt is verified if it is genuine and records an allowed call.

    Exit status: 0 verified; 1 denied, or a receipt of a denied call; 2 the
    options or the token cannot be read.
    """,
    explain=False,
)
_add_verifying_command(
    "why",
    """Explain a token and its verdict in full, as text.

    Prints the text of `nomos.Verifier.explain`, for chains too, and what was not
    checked. For a receipt it prints the same as `nomos token verify`.

    The exit status is as in `nomos token verify`.
    """,
    explain=True,
)


def _each(
    source: list[str] | None, one: Callable[[TokenInput, Ask], bool], *, as_json: bool
) -> None:
    """Call `one` with each token; exit with 1 if it returns False for any."""
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


def _failed(error: NomosError, *, as_json: bool) -> typer.Exit:
    """Print an error. Return exit status 1 for JSON that is not a chain, else 2."""
    setting = f" ({error.setting})" if isinstance(error, ConfigurationError) else ""
    stderr.print(Text.assemble(("error: ", "bold red"), str(error), (setting, "dim")))
    if not isinstance(error, ChainError):
        return typer.Exit(2)
    if as_json:
        print_json({"kind": "chain", "verified": False, "code": error.code, "message": str(error)})
    return typer.Exit(1)
