"""`nomos demo`: an agent and its child, real servers, real files, and evidence for each step.

The evidence can be checked independently. If the result of a step is not the expected one, the
demo ends there with exit status 1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.text import Text

from nomos import AuthGuard
from nomos.cli.console import print_json, stdout
from nomos.cli.demo.harness import NOTE, SECRET, DemoHarness, DemoStep, Play
from nomos.cli.demo.steps_approvals import APPROVALS, AUDIT
from nomos.cli.demo.steps_swarm import SWARM
from nomos.cli.demo.steps_tokens import TOKENS
from nomos.errors import ConfigurationError

POLICIES = Path(__file__).with_name("demo.cedar")
STEPS: tuple[Play, ...] = (*TOKENS, *APPROVALS, *SWARM, *AUDIT)


def run(policies: Path | None, *, as_json: bool, keep: Path | None) -> bool:
    """Run the steps until one fails; return whether all succeeded. `keep` is where exports go."""
    with _export_folder(keep) as exports, _started(policies, exports, quiet=as_json) as demo:
        for play in STEPS:
            name = play.__name__
            with _waiting(name.replace("_", " "), quiet=as_json):
                step = play(demo)
            _show(name, step, as_json=as_json)
            if not step.ok:
                return False
    if not as_json:
        stdout.print(Text("\nEvery step succeeded.", style="bold green"))
    return True


@contextmanager
def _export_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="nomos-demo-") as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise ConfigurationError(f"{keep}: {failure.strerror}", setting="--keep") from failure
    yield keep


@contextmanager
def _started(policies: Path | None, exports: Path, *, quiet: bool) -> Iterator[DemoHarness]:
    """Start the servers with a temporary workspace; both are removed at the end."""
    with _waiting("starting a control plane and a PDP", quiet=quiet):
        guard = AuthGuard.embedded(policies=policies or POLICIES)
    with guard:
        assert guard.workspace is not None
        for path, content in (NOTE, SECRET):
            file = guard.workspace / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        demo = DemoHarness(guard, guard.workspace, exports, guard.approvals.operator_key)
        try:
            yield demo
        finally:
            demo.close()


def _waiting(what: str, *, quiet: bool) -> AbstractContextManager[object]:
    return nullcontext() if quiet else stdout.status(what)


def _show(name: str, step: DemoStep, *, as_json: bool) -> None:
    if as_json:
        print_json({"step": name, "ok": step.ok, "decision": step.decision, **step.evidence})
        return
    mark = Text("  ok  ", style="bold green") if step.ok else Text(" FAIL ", style="bold red")
    stdout.print(Text.assemble(mark, (f"{name:<22}", "bold"), step.summary))
    for line in _lines(step.evidence):
        stdout.print(Text(f"{'':28}{line}", style="dim"))


def _lines(evidence: dict[str, Any]) -> Iterator[str]:
    for name, value in evidence.items():
        match value:
            case None | []:
                continue
            case dict():
                yield from (f"{name}: {key}: {each}" for key, each in value.items())
            case list():
                yield f"{name} {', '.join(map(str, value))}"
            case _:
                yield f"{name} {value}"
