"""A running system with registered services, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ticketing import POLICY, PROVIDER, Served, System, new_did, register, served

from nomos import AuthGuard


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A control plane and a PDP in this process, and two registered services."""
    providers = tmp_path_factory.mktemp("providers")
    (providers / "tickets.yaml").write_text(PROVIDER)
    with AuthGuard.embedded(policies=POLICY, providers=providers) as guard:
        tickets, other = new_did(), new_did()
        register(guard, "tickets", tickets)
        register(guard, "other", other)
        yield System(guard, tickets, other)


@pytest.fixture(scope="session")
def tickets(system: System) -> Iterator[Served]:
    """The ticket service of the examples, served by uvicorn in a process of its own."""
    with served(system, system.tickets) as running:
        yield running


@pytest.fixture(scope="session")
def other(system: System) -> Iterator[Served]:
    """The same service with another DID."""
    with served(system, system.other) as running:
        yield running
