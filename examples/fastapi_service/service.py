"""A ticket service that agents call directly, with tokens that are made out to it.

It knows three things: where the control plane is, whose key that signs with, and its own DID.
Tokens are verified in this process, without a call to another server.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from nomos.integrations.fastapi import Verified, install, json_body, query, requires
from nomos.verify import AsyncVerifier, MemoryReplayStore

TICKETS = {
    7: {"queue": "ops", "title": "The printer is on fire", "state": "open"},
    8: {"queue": "board", "title": "Salaries", "state": "open"},
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Follow what is revoked, for as long as the service runs."""
    async with AsyncVerifier.from_control_plane(
        os.environ["NOMOS_CONTROL_URL"],
        trust_anchor=os.environ["NOMOS_ISSUER"],
        api_key=os.environ["NOMOS_API_KEY"],
        audience=os.environ["TICKETS_DID"],
        replay=MemoryReplayStore(),
    ) as app.state.nomos:
        yield


app = FastAPI(title="tickets", lifespan=lifespan)
install(app)

MayList = Annotated[
    Verified,
    Depends(
        requires(
            "/tickets/ticket/list",
            resource={"provider": "tickets", "queue": "{queue}"},
            args=query(state=str),
        )
    ),
]
MayClose = Annotated[
    Verified,
    Depends(
        requires(
            "/tickets/ticket/close",
            resource={"provider": "tickets", "queue": "{queue}", "number": "{number}"},
            args=json_body(),
        )
    ),
]


class Closing(BaseModel):
    """What is said when a ticket is closed."""

    comment: str


@app.get("/queues/{queue}/tickets")
async def tickets(queue: str, by: MayList, state: str = "open") -> dict[str, Any]:
    """List the tickets of a queue."""
    found = {
        number: ticket["title"]
        for number, ticket in TICKETS.items()
        if (ticket["queue"], ticket["state"]) == (queue, state)
    }
    return {"tickets": found, "asked_by": by.agent}


@app.post("/queues/{queue}/tickets/{number:int}/close")
async def close(queue: str, number: int, closing: Closing, by: MayClose) -> dict[str, Any]:
    """Close a ticket; whose grant allowed it is on record under `receipt`."""
    ticket = TICKETS.get(number)
    if ticket is None or ticket["queue"] != queue:
        raise HTTPException(404, "no such ticket")
    ticket["state"] = "closed"
    return {"closed": number, "comment": closing.comment, "receipt": by.receipt_id}
