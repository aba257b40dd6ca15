"""How many requests to the binary each operation makes, as `tools/count_round_trips.py` counts."""

from __future__ import annotations

import importlib.util
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from nomos._io.signer import Signer, shared
from nomos._protocol import Checkpoint, SignCheckpoint, Signed

TOOL = Path(__file__).parents[1] / "tools" / "count_round_trips.py"

MADE = {
    "Verifier.verify": {"Verify": 1},
    "authorize": {"Delegate": 1, "Invoke": 1},
    "authorize with constraints": {"CheckPolicy": 1, "Delegate": 1, "Invoke": 1},
    "grant.headers": {"Invoke": 1},
    "fork_child": {"Fork": 1},
    "PDP GET, chain of 1": {"Verify": 1},
    "PDP PUT, chain of 1": {"Verify": 2},
    "authorize by a chain": {"Delegate": 1, "Invoke": 2, "Verify": 2},
    "guard.headers by a chain": {"Invoke": 1},
    "grant.headers by a chain": {"Invoke": 1},
    "PDP GET, chain of 2": {"Verify": 1},
}


@cache
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("count_round_trips", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_operation_sends_the_listed_requests_to_the_binary() -> None:
    made: dict[str, Counter[str]] = tool().count()

    assert made == MADE


def test_a_checkpoint_that_falls_due_while_counting_is_not_counted() -> None:
    issuer = tool().generated()
    log_end = Checkpoint(iss=issuer, log="audit", tenant="local", seq=1, head="a" * 64, iat=1)

    with tool().counted() as made:
        answer = Signer(shared()).ask(SignCheckpoint(key=issuer, payload=log_end))
        tool().generated()

    assert isinstance(answer, Signed)
    assert made == {"GenerateKey": 1}
