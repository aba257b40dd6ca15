"""Compares the model with the binary on random chains.

    python tests/model/agree.py COUNT [SEED]

makes chains that hold and chains that do not, asks both about each in several ways, and prints how
many judgments there were of each kind. Where they differ in the code, the hop or any fact, it
prints the request and which scene (`SEED INDEX`) it is from, and ends with status 1.

    python tests/model/agree.py --again SEED INDEX

plays one scene again.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.chains import about, scene
from model.judge import opinion, result_of
from model.tricks import TRICKS

from nomos._io.binary_location import find_binary
from nomos._protocol import MAX_LINE

Json = dict[str, Any]

BATCH: Final = 200
AHEAD: Final = 3
"""Batches of requests that the binary may hold while the model judges earlier ones."""
PATIENCE: Final = 60.0
VARIANTS: Final = 6
"""Chains made of one scene, beside the one that holds."""


class Binary:
    """The real thing, asked many questions at a time."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [path, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin: IO[bytes] = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout
        self.answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.threads = [threading.Thread(target=run) for run in (self._read, self._write)]
        for thread in self.threads:
            thread.start()

    def _read(self) -> None:
        for text in self.stdout:
            self.answers.put(text)

    def _write(self) -> None:
        """Write what is asked until the empty question; the binary's death is seen by `answer`."""
        with contextlib.suppress(BrokenPipeError), self.stdin:
            while text := self.questions.get():
                self.stdin.write(text)
                self.stdin.flush()

    def ask(self, lines: list[bytes]) -> None:
        self.questions.put(b"".join(lines))

    def answer(self) -> Json:
        answer: Json = json.loads(self.answers.get(timeout=PATIENCE))
        return answer

    def close(self) -> None:
        self.questions.put(b"")
        self.process.wait(PATIENCE)
        for thread in self.threads:
            thread.join(PATIENCE)
        self.stdout.close()


@dataclass
class Tally:
    """What was judged, and where the two differed."""

    codes: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    @property
    def judged(self) -> int:
        return self.codes.total()


Case = tuple[int, str, Json]
"""The scene, what was done to it, and what is asked."""


def cases(seed: int, index: int) -> Iterator[Case]:
    """Everything that is asked about one scene."""
    random = Random(f"{seed}:{index}")
    made = scene(random)
    for request in about(random, made, made.chain):
        yield index, "as it is", request
    for _ in range(VARIANTS):
        trick = random.choice(TRICKS)
        for request in about(random, made, trick(random, made)):
            yield index, trick.__name__, request


def model_result(request: Json) -> Json:
    """What the model answers, to a request that fits into a line."""
    if len(line(request)) - 1 > MAX_LINE:
        return {"ok": False, "code": "too_large"}
    return opinion(request)


def play(path: Path, count: int, seed: int, *, progress: bool = False) -> Tally:
    """Judge at least `count` requests."""
    tally = Tally()
    binary = Binary(path)
    waiting: list[list[tuple[Case, Json]]] = []
    began = time.perf_counter()
    try:
        for batch in batches(count, seed):
            binary.ask([line(request) for _, _, request in batch])
            waiting.append([(case, model_result(case[2])) for case in batch])
            if len(waiting) > AHEAD:
                compare(binary, waiting.pop(0), seed, tally)
            if progress and tally.judged // BATCH % 100 == 0:
                rate = tally.judged / (time.perf_counter() - began)
                print(f"  {tally.judged} judged, {rate:.0f}/s", file=sys.stderr, flush=True)
        for judged in waiting:
            compare(binary, judged, seed, tally)
    finally:
        binary.close()
    return tally


def batches(count: int, seed: int) -> Iterator[list[Case]]:
    batch: list[Case] = []
    made = index = 0
    while made < count:
        for case in cases(seed, index):
            batch.append(case)
            made += 1
            if len(batch) == BATCH:
                yield batch
                batch = []
        index += 1
    if batch:
        yield batch


def line(request: Json) -> bytes:
    return json.dumps({"id": 1, "protocol": 1, **request}).encode() + b"\n"


def compare(binary: Binary, batch: list[tuple[Case, Json]], seed: int, tally: Tally) -> None:
    for (index, trick, request), model in batch:
        answer = binary.answer()
        real = result_of(answer)
        tally.codes["accepted" if real["ok"] else real["code"]] += 1
        if real != model:
            tally.differences.append(
                f"scene {seed} {index} ({trick}):\n  model  {shown(model)}\n  binary {shown(real)} "
                f"{answer.get('message', '')} {answer.get('found', '')}\n"
                f"  {shown(request)}"
            )


def shown(message: Json) -> str:
    """Its beginning; `--again` has the rest."""
    return json.dumps(message)[:1500]


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--again"]:
        seed, index = map(int, arguments[1:])
        asked = [*cases(seed, index)]
        tally = Tally()
        binary = Binary(find_binary())
        binary.ask([line(request) for _, _, request in asked])
        compare(binary, [(case, model_result(case[2])) for case in asked], seed, tally)
        binary.close()
    else:
        count, seed = int(arguments[0]), int(arguments[1]) if arguments[1:] else 1
        began = time.perf_counter()
        tally = play(find_binary(), count, seed, progress=True)
        rate = tally.judged / (time.perf_counter() - began)
        print(f"{tally.judged} judgments from seed {seed}, {rate:.0f}/s")
    for code, times in tally.codes.most_common():
        print(f"  {times:8} {code}")
    for difference in tally.differences[:20]:
        print(difference)
    print(f"{len(tally.differences)} disagreements")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
