"""Nomos, the authorization layer for AI agents: ask before you act.

from nomos import AuthGuard

guard = AuthGuard(control_plane_url=..., api_key=...)
grant = guard.authorize(
    command="/github/issue/list",
    resource={"provider": "github", "owner": "acme", "repo": "app"},
)
"""

from nomos.errors import (
    AuthenticationError,
    BinaryNotFound,
    ChainError,
    ChainTooDeep,
    ConfigurationError,
    Conflict,
    ControlPlaneError,
    Denied,
    ExpiredChain,
    InvalidPolicy,
    InvalidRequest,
    MalformedChain,
    NomosError,
    NotFound,
    PermissionDenied,
    PolicyProblem,
    ProtocolMismatch,
    RateLimited,
    ServerError,
    SignerDied,
    SignerError,
    StepUpRequired,
    Unintelligible,
    Unreachable,
    Widening,
    WrongAudience,
)
from nomos.guard import AsyncAuthGuard, AsyncGrant, AuthGuard, FailOpenWarning, Grant
from nomos.models import Chain, Decision, DenyReason, Explanation

__all__ = [
    "AsyncAuthGuard",
    "AsyncGrant",
    "AuthGuard",
    "AuthenticationError",
    "BinaryNotFound",
    "Chain",
    "ChainError",
    "ChainTooDeep",
    "ConfigurationError",
    "Conflict",
    "ControlPlaneError",
    "Decision",
    "Denied",
    "DenyReason",
    "ExpiredChain",
    "Explanation",
    "FailOpenWarning",
    "Grant",
    "InvalidPolicy",
    "InvalidRequest",
    "MalformedChain",
    "NomosError",
    "NotFound",
    "PermissionDenied",
    "PolicyProblem",
    "ProtocolMismatch",
    "RateLimited",
    "ServerError",
    "SignerDied",
    "SignerError",
    "StepUpRequired",
    "Unintelligible",
    "Unreachable",
    "Widening",
    "WrongAudience",
]
