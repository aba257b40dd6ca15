"""The warning about accounts that still work after the operator who made them was removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from nomos.cli.console import stderr
from nomos.cli.visible_text import shown


def warn(ident: str, reply: Mapping[str, Any], *, when: str = "") -> None:
    """Print a reply's remaining accounts, with commands for each; `when` begins the sentence."""
    count = reply.get("left", 0)
    if not count:
        return
    apps: Sequence[Mapping[str, Any]] = reply["leftApps"]
    what = "1 account still works" if count == 1 else f"{count} accounts still work"
    why = (
        f" that {ident} registered, or received the key of, and that no operator outside of its "
        f"line has confirmed. A person who used {ident} may still have their keys:"
    )
    stderr.print(Text.assemble(("warning: ", "bold yellow"), when, what, why))
    for each in apps:
        stderr.print(Text.assemble(f"  {each['role']}  ", shown(each["name"]), f"  {each['id']}"))
        end = f"    nomos apps disable {each['id']}   disables it"
        stderr.print(Text(end, style="dim"))
        if each["role"] == "operator":
            keep = f"    nomos apps confirm {each['id']}   if another person owns it and stays"
            stderr.print(Text(keep, style="dim"))
    if count > len(apps):
        stderr.print(Text(f"  and {count - len(apps)} more", style="dim"))
