"""A parent in the middle of a swarm: runs a published snippet, and starts the child.

    python swarm_parent.py SNIPPET CHILD_KEY_FILE

Its authority comes from its environment, as its own parent left it. `child` is what the snippet
made; it is passed on to one more process, which has its own key.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("swarm_child.py")


def main(snippet: str, key_file: str) -> None:
    """Run the snippet, then the child, and end as the child does."""
    scope: dict[str, Any] = {"os": os}
    exec(compile(Path(snippet).read_text(), "PAGE.md", "exec"), scope)
    with scope["child"] as child:
        process = child.popen([sys.executable, str(CHILD), key_file, child.parent_receipt_id])
        sys.exit(process.wait(60))


if __name__ == "__main__":
    main(*sys.argv[1:])
