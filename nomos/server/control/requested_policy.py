"""Policy statements of a question: limited here, then checked by the signing binary."""

from __future__ import annotations

from typing import Any, Final

from nomos._pol.checks import limited
from nomos._protocol import CheckPolicy, PolicyChecked, Refused
from nomos.errors import ConfigurationError, InvalidRequest, SignerError
from nomos.server.control.context import Context

CALLERS_FAULT: Final = frozenset({"malformed_ucan", "vacuous_policy"})


async def checked(context: Context, pol: list[Any] | None) -> tuple[Any, ...]:
    """Return the statements as they are signed; without any, the binary is not asked.

    Each must require that its field is present. Raises InvalidRequest for statements that cannot be
    signed or are too large, and SignerError if the binary cannot answer.
    """
    if not pol:
        return ()
    try:
        statements = limited(pol)
    except ConfigurationError as wrong:
        raise _invalid(str(wrong)) from None
    answer = await context.signer.ask(CheckPolicy(pol=statements))
    if isinstance(answer, PolicyChecked):
        return tuple(answer.pol)
    if isinstance(answer, Refused) and answer.code in CALLERS_FAULT:
        raise _invalid(answer.message)
    code = answer.code if isinstance(answer, Refused) else None
    raise SignerError(f"the signing binary did not check the statements: {code}", code=code)


def _invalid(sentence: str) -> InvalidRequest:
    """Return the error; the sentence may contain the caller's text, and is made ASCII."""
    return InvalidRequest(ascii(sentence)[1:-1], fields=("pol",))
