"""
Fuzz the line protocol of the compiled binary: `python tests/fuzz/lines.py SECONDS [SEED]`.

Lines are sent many at a time, cut anywhere, good ones among bad ones. Each has exactly one answer,
in order, with its own id, in time; a good line has the answer that its vector says, whatever came
before it; the answer to any other line is right by the model (`tests/model/judge.py`). No answer
holds a key that was sent, and the process does not grow. The same seed makes the same lines.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.mutate import Mutator, known
from fuzz.process import Process, Silent
from model.judge import WrongAnswer, judge
from vectors import forge

from nomos._io.binary_location import find_binary

Answer = dict[str, Any]

LONGEST_BATCH: Final = 40
LAST_ID: Final = 9_007_199_254_740_000
"""The id of the question that ends a batch: its answer comes when all others have come."""

LAST: Final = json.dumps({"id": LAST_ID, "protocol": 1, "op": "hello"}).encode() + b"\n"
LAST_BEGINS: Final = f'{{"id":{LAST_ID},'.encode()

SPACE: Final = "[\\t-\\r \\xa0]*"
LEADING_ID: Final = re.compile(rf'{SPACE}\{{{SPACE}"id"{SPACE}:{SPACE}(\d{{1,15}}){SPACE}[,}}]')

MOST_SHOWN: Final = 10_000

MOST_MEMORY: Final = 768 * 1024 * 1024
MOST_GROWTH: Final = 128 * 1024 * 1024
"""Bytes that the process may take in all, and more at the end than after a third of the lines."""


@dataclass
class Report:
    """What was done and what was found. `found` pairs a sentence with the line it is about."""

    lines: int = 0
    batches: int = 0
    corpus: int = 0
    accepted: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    found: list[tuple[str, bytes]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    highest: int = 0

    def __str__(self) -> str:
        megabytes = [size // 2**20 for size in self.memory]
        codes = ", ".join(f"{code} {count}" for code, count in sorted(self.codes.items()))
        grown = f"{megabytes[len(megabytes) // 3]} → {megabytes[-1]}" if megabytes else "unknown"
        return (
            f"{self.lines} lines in {self.batches} batches, from a corpus of {self.corpus}\n"
            f"answers: {codes}\n"
            f"yes to changed lines, each right by the model: {self.accepted}\n"
            f"memory in MiB: {grown}, at most {self.highest // 2**20}\n"
            f"found: {len(self.found)}"
        )


class Campaign:
    """One process that is fed until time or lines run out; it is started again where it died."""

    def __init__(self, binary: Path, seed: int) -> None:
        self._binary = binary
        self._random = Random(seed)
        self._known = known()
        self._mutator = Mutator(self._random, [line for line, _ in self._known])
        self._keys = [
            json.dumps({"id": 1, "protocol": 1, "op": "load_key", "seed": party.seed}).encode()
            for party in forge.PARTIES
        ]
        self._secrets: set[bytes] = set()
        self._process = Process(binary)
        self.report = Report(corpus=len(self._known))

    def run(self, *, seconds: float = float("inf"), lines: float = float("inf")) -> Report:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.report.lines < lines:
            self._batch()
            if self.report.batches % 20 == 0:
                self._weigh()
        self._weigh()
        self._judge_memory()
        if status := self._process.end():
            self._find(f"exit status {status} at the end", b"")
        return self.report

    def _batch(self) -> None:
        """Send the keys, which a batch before may have had forgotten, and a few lines."""
        keys = [*self._keys, self._secret()]
        count = self._random.randrange(1, LONGEST_BATCH)
        chosen: list[tuple[bytes, Answer | None]] = [
            self._random.choice(self._known)
            if self._random.randrange(4) == 0
            else (self._mutator.line(), None)
            for _ in range(count)
        ]
        lines = [*keys, *(line for line, _ in chosen)]
        self.report.batches += 1
        self.report.lines += len(lines)
        try:
            texts = self._process.exchange(self._cut(b"\n".join(lines) + b"\n" + LAST), LAST_BEGINS)
        except Silent as silent:
            self._find_silence(lines, str(silent))
            return
        self._judge([*((key, None) for key in keys), *chosen], texts[:-1])

    def _secret(self) -> bytes:
        """A key that is loaded or refused for its form, and never repeated in an answer."""
        seed = self._random.randbytes(32).hex()
        self._secrets = {seed.encode(), seed[8:].encode(), seed[:-8].encode()}
        wrong = (
            seed.upper(),
            f"0x{seed}",
            seed[:-1],
            f"{seed}\n",
            [seed],
            {seed: seed},
            f"{seed}==",
        )
        name = self._random.choice(("seed",) * 5 + ("Seed", "key"))
        value = seed if self._random.randrange(2) else self._random.choice(wrong)
        request = {"id": 1, "protocol": 1, "op": "load_key", name: value}
        return json.dumps(request).encode()

    def _cut(self, data: bytes) -> list[bytes]:
        """The same bytes, in pieces as a pipe may deliver them."""
        cuts = sorted(self._random.randrange(len(data)) for _ in range(self._random.randrange(6)))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _judge(self, asked: list[tuple[bytes, Answer | None]], texts: list[bytes]) -> None:
        answers: list[list[tuple[bytes, Answer]]] = [[]]
        for text in texts:
            answer = json.loads(text)
            answers[-1].append((text, answer))
            if not answer.get("more"):
                answers.append([])
        if answers.pop() or len(answers) != len(asked):
            sent = b"\n".join(line for line, _ in asked)
            self._find(f"{len(answers)} answers to {len(asked)} lines", sent)
            return
        changed_keys = False
        for (line, row), parts in zip(asked, answers, strict=True):
            try:
                # A line that was changed may have had a key forgotten that a known one needs.
                self._judge_one(line, None if changed_keys else row, parts)
            except WrongAnswer as wrong:
                self._find(str(wrong), line)
            changed_keys |= row is None and line not in self._keys and b"forget" in line

    def _judge_one(
        self, line: bytes, row: Answer | None, parts: list[tuple[bytes, Answer]]
    ) -> None:
        whole = {key: value for _, answer in parts for key, value in answer.items()}
        if len(parts) > 1:
            whole["children"] = [child for _, part in parts for child in part["children"]]
        ids = {json.dumps(answer["id"]) for _, answer in parts}
        if len(ids) > 1 or whole["id"] not in _ids_of(line):
            raise WrongAnswer(f"the answer has the id {ids}")
        self.report.codes[whole.get("code", "yes")] += 1
        if whole.get("code") == "internal":
            raise WrongAnswer("internal")
        for text, _ in parts:
            self._judge_secrets(text)
        if row is not None:
            self._judge_known(row, whole)
        else:
            judge(line, whole)
            self.report.accepted += whole["ok"] and line not in self._keys

    def _judge_known(self, row: Answer, answer: Answer) -> None:
        if "answer" in row:
            wanted = {"ok": True, **row["answer"]}
            given = {name: answer.get(name) for name in wanted}
        else:
            given = {name: answer[name] for name in ("code", "hop") if name in answer}
            wanted = row["refused"]
        if given != wanted:
            raise WrongAnswer(f"a known line has another answer: {given}")

    def _judge_secrets(self, text: bytes) -> None:
        if any(secret in text.lower() for secret in self._secrets):
            raise WrongAnswer("an answer holds a key")

    def _find_silence(self, lines: list[bytes], why: str) -> None:
        """Start again, and look for the line that did it."""
        self._process.end()
        for line in lines:
            process = Process(self._binary)
            try:
                process.exchange([line + b"\n", LAST], LAST_BEGINS)
            except Silent:
                self._find(why, line)
                break
            finally:
                process.end()
        else:
            self._find(f"{why}, after all of these lines", b"\n".join(lines))
        self._process = Process(self._binary)

    def _find(self, what: str, line: bytes) -> None:
        self.report.found.append((what, line))

    def _weigh(self) -> None:
        if (size := self._process.memory()) is not None:
            self.report.memory.append(size)
            self.report.highest = self._process.memory("VmHWM") or 0

    def _judge_memory(self) -> None:
        sizes = self.report.memory
        if not sizes:
            return
        if self.report.highest > MOST_MEMORY:
            self._find(f"it took {self.report.highest} bytes of memory", b"")
        if sizes[-1] - max(sizes[: len(sizes) // 3 + 1]) > MOST_GROWTH:
            self._find(f"it grew to {sizes[-1]} bytes of memory", b"")


def _ids_of(line: bytes) -> set[int | None]:
    """The ids that an answer may have: that of the request, or the one its text begins with."""
    found = LEADING_ID.match(line[:64].decode("latin1"))
    leading = None if found is None else int(found[1])
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {leading}
    given = request.get("id") if isinstance(request, dict) else None
    if isinstance(given, bool) or not isinstance(given, int | float):
        return {leading, None}
    is_id = 0 <= given < 2**53 and given == int(given)
    return {leading, int(given) if is_id else None}


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0])
    seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns() % 2**32
    report = Campaign(find_binary(), seed).run(seconds=seconds)
    print(f"seed {seed}, {seconds:.0f} seconds\n{report}")
    for what, line in report.found[:20]:
        print(f"- {what}\n  {line[:MOST_SHOWN]!r}")
    return 1 if report.found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
