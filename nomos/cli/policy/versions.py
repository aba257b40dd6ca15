"""`nomos policy versions`, `put`, `activate` and `rollback`: they call a control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from nomos.cli.client import Operator
from nomos.cli.console import print_json, stdout
from nomos.cli.errors import server_extra

with server_extra("policy"):
    from nomos.cli.policy.local import sources
    from nomos.server.policies.loading import read_facts

PATH = "/v1/policies"


def versions(operator: Operator, *, as_json: bool) -> None:
    """List the versions, and mark the active one."""
    found = operator.get(PATH)
    if as_json:
        for each in found["policies"]:
            print_json(each)
        return
    by = max([len("by"), *(len(_by(each)) for each in found["policies"])])
    heading = f"{'version':>7}  {'bundle':<16}  {'put':<16}  {'by':<{by}}"
    stdout.print(Text(heading, style="bold"))
    for each in found["policies"]:
        put_at = each["putAt"].replace("T", " ")[:16]
        line = f"{each['version']:>7}  {each['hash'][:16]}  {put_at}  {_by(each):<{by}}"
        decides = ("  active", "bold green") if each["active"] else ""
        stdout.print(Text.assemble(line, decides))


def _by(version: dict[str, Any]) -> str:
    found: str = version.get("putBy", "files")
    return found


def put(path: Path, operator: Operator, *, activate: bool, revoke: bool, as_json: bool) -> None:
    """Upload the policies of a file or folder, and the facts beside them."""
    body = {"sources": {each.name: each.text for each in sources(path)}, "facts": read_facts(path)}
    kept = operator.post(PATH, body, look="nomos policy versions")
    _print_put(kept, as_json=as_json)
    if activate:
        change(kept["version"], operator, revoke=revoke, as_json=as_json)


def change(version: int | None, operator: Operator, *, revoke: bool, as_json: bool) -> None:
    """Activate a version (None: the one before); `revoke` live grants that it would not issue."""
    body: dict[str, Any] = {"revokeLive": True} if revoke else {}
    if version is None:
        # Of two operators who roll back at once, the second must not undo the first.
        body["replaces"] = operator.get(PATH, limit=1)["active"]
    done = operator.post(
        f"{PATH}/rollback" if version is None else f"{PATH}/{version}/activate",
        body or None,
        about=None if version is None else {"version": version},
        look="nomos policy versions",
    )
    _print_active(done, as_json=as_json)
    if not as_json:
        _print_outdated(done)


def _print_put(kept: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(kept)
        return
    what = "created" if kept["created"] else "already exists with the same content"
    then = "" if kept["active"] else f"; nomos policy activate {kept['version']} activates it"
    stdout.print(Text.assemble(("version ", "green"), f"{kept['version']} {what}", (then, "dim")))
    for each in kept.get("warnings", ()):
        where = f"  {each['file']}:{each['line']}: {each['policy']}: {each['message']}"
        stdout.print(Text.assemble(("warning", "bold yellow"), where))


def _print_active(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    before = f"; before: version {done['before']}" if "before" in done else ""
    stdout.print(
        Text.assemble(
            ("version ", "bold green"),
            f"{done['version']} is active (bundle {done['hash'][:16]})",
            (before, "dim"),
        )
    )


def _print_outdated(done: dict[str, Any]) -> None:
    """Print valid grants for services that the active policies would not issue."""
    count = done.get("outdated", 0)
    if not count:
        return
    revoked = done.get("revoked")
    then = f"; {revoked} revoked now" if revoked is not None else "; --revoke revokes them"
    what = f"{count} valid grants for services would not be issued by this version"
    stdout.print(Text.assemble((what, "bold yellow"), then))
    for each in done["outdatedGrants"]:
        why = ", ".join(each["policies"]) or "no policy permits it"
        delegated = "if delegated: " if each["handedOn"] else ""
        line = (
            f"  {each['cid'][:16]}  {each['command']}  {delegated}{why}  until {each['expiresAt']}"
        )
        stdout.print(Text(line))
