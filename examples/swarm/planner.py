"""The planner: starts two processes, and gives each a part of what it may do itself.

    python examples/swarm/planner.py

The researcher may read `sources` and nothing else. The writer may write into `published`, and is
stopped there until a person has read what it wants to publish: that is you, at this terminal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO

from nomos import Approval, AuthGuard, Child

HERE = Path(__file__).parent
SOURCES = {
    "sources/issues.md": "Three issues are open.\n",
    "sources/release.md": "The next release is on Friday.\n",
}


def main() -> None:
    """Ask for the folder once, hand parts of it on, and answer for the writer."""
    with AuthGuard.embedded(policies=HERE / "policies.cedar") as guard:
        fill(guard)
        grant = guard.authorize(
            command="/filesystem",
            resource={"provider": "filesystem", "path": ""},
            purpose="the weekly report",
        ).require()
        researcher, writer = guard.fork_children(
            [
                {"capabilities": [{"with": "filesystem:///sources", "can": "file:read"}]},
                {"capabilities": [{"with": "filesystem:///published", "can": "file:write"}]},
            ],
            parent_chain=grant.chain,
        )
        with researcher, writer:
            found = research(researcher)
            status = publish(guard, writer, found)
        if status == 0:
            assert guard.workspace is not None
            report = guard.workspace / "published" / "report.md"
            print(f"\npublished/report.md:\n{report.read_text()}")
    sys.exit(status)


def fill(guard: AuthGuard) -> None:
    """Put something to read into the folder that the PDP serves."""
    assert guard.workspace is not None
    for name, text in SOURCES.items():
        file = guard.workspace / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (guard.workspace / "published").mkdir()


def research(child: Child) -> str:
    """Run the researcher to its end, and return what it found."""
    process = start(child, "researcher.py")
    out, _ = process.communicate(json.dumps(list(SOURCES)))
    if process.returncode != 0:
        sys.exit(process.returncode)
    return out


def publish(guard: AuthGuard, child: Child, text: str) -> int:
    """Run the writer; when it waits for a person, ask the one who is here."""
    process = start(child, "writer.py")
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()
    assert process.stdout is not None
    for line in process.stdout:
        decide(guard, guard.approvals.get(line.strip()))
    return process.wait()


def decide(guard: AuthGuard, question: Approval) -> None:
    """Show the question and record the answer."""
    print(f"\n{question.agent} wants {question.command}")
    print(f"  on   {question.resource['path']}")
    print(f"  with {(question.args or {}).get('content')!r}")
    print(f"  why  {question.reason}")
    answer = input("Approve? [y/N] ")
    approve = answer.strip().lower() == "y"
    guard.approvals.decide(question.id, approve=approve, version=question.version)


def start(child: Child, program: str) -> subprocess.Popen[str]:
    """Start a program as the child: its authority goes with it, ours does not."""
    pipe: IO[str] | int = subprocess.PIPE
    process: subprocess.Popen[str] = child.popen(
        [sys.executable, str(HERE / program)], stdin=pipe, stdout=pipe, text=True
    )
    print(f"process {process.pid} is {program}, agent {child.agent}", file=sys.stderr)
    return process


if __name__ == "__main__":
    main()
