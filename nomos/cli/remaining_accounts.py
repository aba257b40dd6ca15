"""What is said of accounts that still work when the operator who made them does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from nomos.cli.console import stderr
from nomos.cli.visible_text import shown


def tell(ident: str, reply: Mapping[str, Any], *, when: str = "") -> None:
    """Name the accounts that a reply says are left, and what ends or confirms each.

    `when` begins the sentence, where it need not concern whoever reads it.
    """
    count = reply.get("left", 0)
    if not count:
        return
    apps: Sequence[Mapping[str, Any]] = reply["leftApps"]
    what = "1 account still works" if count == 1 else f"{count} accounts still work"
    why = (
        f" that {ident} registered, or was shown the key of, and that nobody outside of its line "
        "has confirmed. Whoever used it may have the keys:"
    )
    stderr.print(Text.assemble(("careful: ", "bold yellow"), when, what, why))
    for each in apps:
        stderr.print(Text.assemble(f"  {each['role']}  ", shown(each["name"]), f"  {each['id']}"))
        end = f"    nomos apps disable {each['id']}   ends it"
        stderr.print(Text(end, style="dim"))
        if each["role"] == "operator":
            keep = f"    nomos apps confirm {each['id']}   if it is another person's, who stays"
            stderr.print(Text(keep, style="dim"))
    if count > len(apps):
        stderr.print(Text(f"  and {count - len(apps)} more", style="dim"))
