"""Errors: one root, and the attributes that each has."""

from typing import assert_type

from nomos import (
    AttenuationError,
    AuthGuard,
    ChainError,
    ConfigurationError,
    ControlPlaneError,
    Denied,
    InvalidPolicy,
    InvalidReceipt,
    InvalidRequest,
    NomosError,
    PolicyProblem,
    RateLimited,
    SignerError,
    StepUpRequired,
    Unreachable,
)


def ask(guard: AuthGuard) -> None:
    try:
        guard.authorize(command="/a/b", resource={"provider": "a"}).require()
    except StepUpRequired as waiting:
        assert_type(waiting.approval_envelope_id, str | None)
    except Denied as denied:
        assert_type(denied.code, str)
        assert_type(denied.hop, int | None)
        assert_type(denied.field, str | None)
        assert_type(denied.fix, str | None)
    except InvalidRequest as wrong:
        assert_type(wrong.fields, tuple[str, ...])
    except RateLimited as limited:
        assert_type(limited.retry_after, float | None)
    except Unreachable as unreachable:
        assert_type(unreachable.sent, bool)
    except ControlPlaneError as failed:
        assert_type(failed.status, int | None)
        assert_type(failed.request_id, str | None)


def others(error: NomosError) -> str:
    match error:
        case AttenuationError():
            return error.code
        case ChainError():
            return f"{error.code} {assert_type(error.hop, int | None)}"
        case InvalidPolicy():
            assert_type(error.problems, tuple[PolicyProblem, ...])
            return error.setting
        case ConfigurationError():
            return assert_type(error.setting, str)
        case InvalidReceipt():
            return assert_type(error.code, str)
        case SignerError():
            return assert_type(error.code, str | None) or "no answer"
        case _:
            return str(error)


value_error: ValueError = ConfigurationError("wrong", setting="timeout")
