"""The writer: publishes a text, once a person has approved exactly that text.

It asks the control plane with its chain. The answer is "ask a human", so it says which question
that is, waits, and asks again with the person's approval, which works for this one call.
"""

from __future__ import annotations

import sys

import httpx

from nomos import AuthGuard

WRITE = "/filesystem/file/write"
RESOURCE = {"provider": "filesystem", "path": "published/report.md"}


def main() -> None:
    """Publish the standard input."""
    args = {"content": f"# This week\n\n{sys.stdin.read()}"}
    with AuthGuard.from_env() as guard:
        grant = guard.authorize(command=WRITE, resource=RESOURCE, args=args)
        if grant.decision == "requires_step_up" and grant.approval_envelope_id is not None:
            print(grant.approval_envelope_id, flush=True)
            approval = guard.wait_for_approval(grant.approval_envelope_id)
            if not approval:
                sys.exit("the writer was denied: nothing is published")
            grant = guard.authorize(
                command=WRITE,
                resource=RESOURCE,
                args=args,
                cosigner_envelope_id=grant.approval_envelope_id,
            )
        reply = httpx.put(
            f"{guard.pdp_url}{WRITE}",
            json={"path": RESOURCE["path"], **args},
            headers={"authorization": f"Bearer {grant.require().ucan}"},
            trust_env=False,
        )
        reply.raise_for_status()


main()
