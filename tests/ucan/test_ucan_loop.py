"""The binary's request loop with any input from a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ucan_loop import Loop

MAX_LINE = 1024 * 1024
HELLO = b'{"id":5,"protocol":1,"op":"hello"}\n'
SEED = "00" * 31 + "01"
NOW = 1_700_000_000


def hello(number: int) -> bytes:
    return b'{"id":%d,"protocol":1,"op":"hello"}\n' % number


def test_hello_has_protocol_runtime_and_operations(loop: Loop) -> None:
    answer = loop.ask(HELLO.strip())
    assert answer["id"] == 5
    assert answer["speaks"] == 1
    assert answer["runtime"].startswith("bun ")
    assert answer["ops"][:2] == ["hello", "generate_key"]


def test_the_end_of_input_is_the_end(loop: Loop) -> None:
    loop.ask(HELLO.strip())
    assert loop.end() == 0


def test_without_input_it_ends_silently(binary: Path) -> None:
    run = subprocess.run([binary, "serve"], input=b"", capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_an_interrupt_does_not_end_the_binary(loop: Loop) -> None:
    loop.ask(HELLO.strip())
    loop.process.send_signal(signal.SIGINT)
    assert loop.ask(HELLO.strip())["ok"]
    assert loop.end() == 0


def test_many_requests_in_one_write_are_answered_in_order(loop: Loop) -> None:
    count = 5000
    writer = threading.Thread(target=loop.send, args=(b"".join(map(hello, range(count))),))
    writer.start()
    assert [loop.answer()["id"] for _ in range(count)] == list(range(count))
    writer.join()


def test_a_request_may_come_byte_by_byte(loop: Loop) -> None:
    for byte in HELLO:
        loop.send(bytes([byte]))
    assert loop.answer()["id"] == 5


def test_a_line_over_the_limit_is_refused_and_the_next_is_answered(loop: Loop) -> None:
    long = b'{"id":9,"protocol":1,"op":"inspect","token":"' + b"x" * MAX_LINE + b'"}\n'
    writer = threading.Thread(target=loop.send, args=(long + HELLO,))
    writer.start()
    refusal = loop.answer()
    assert refusal.pop("message")
    assert refusal == {"id": 9, "ok": False, "code": "too_large"}
    assert loop.answer()["id"] == 5
    writer.join()


def test_an_endless_line_takes_no_memory(loop: Loop) -> None:
    loop.ask(HELLO.strip())
    before = resident(loop.process.pid)
    for _ in range(64):
        loop.send(b"x" * MAX_LINE)
    loop.send(b"\n" + HELLO)
    assert loop.answer()["code"] == "too_large"
    assert loop.answer()["id"] == 5
    assert resident(loop.process.pid) - before < 16 * MAX_LINE


def resident(pid: int) -> int:
    """Bytes of memory that a process has, as Linux says; 0 where there is no such file."""
    status = Path(f"/proc/{pid}/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 100, b"\xff\xfe\xfd", b"[" * 100_000, b'{"id":' * 1000, b"\r", os.urandom(4096)],
    ids=["zeros", "no UTF-8", "brackets", "openings", "a carriage return", "noise"],
)
def test_malformed_input_is_refused_and_the_next_line_is_answered(
    loop: Loop, garbage: bytes
) -> None:
    line = garbage.replace(b"\n", b" ")
    answer = loop.ask(line)
    assert (answer["ok"], answer["code"]) == (False, "invalid_request")
    assert loop.ask(HELLO.strip())["id"] == 5


def test_an_unknown_protocol_is_refused_with_both_numbers(loop: Loop) -> None:
    answer = loop.ask({"protocol": 7, "op": "hello"})
    assert answer["code"] == "protocol"
    assert "7" in answer["message"]
    assert "1" in answer["message"]


def test_no_answer_repeats_a_key(loop: Loop) -> None:
    answers = [
        loop.ask({"op": "load_key", "seed": SEED}),
        loop.ask({"op": "load_key", "seed": SEED, "more": SEED}),
        loop.ask({"op": "load_key", "seed": SEED[:-1]}),
        loop.ask({"op": "hello", "seed": SEED}),
        loop.ask('{"id":1,"protocol":1,"op":"load_key","seed":"' + SEED),
    ]
    assert all(SEED[:-1] not in json.dumps(answer) for answer in answers)


def test_a_key_that_was_made_can_be_loaded_into_another_process(binary: Path, loop: Loop) -> None:
    made = loop.ask({"op": "generate_key"})
    again = loop.ask({"op": "generate_key"})
    assert made["seed"] != again["seed"]
    fresh = Loop(binary)
    assert fresh.ask({"op": "load_key", "seed": made["seed"]})["key"] == made["key"]
    assert fresh.ask({"op": "forget_key", "key": made["key"]})["forgotten"] is True
    assert fresh.ask({"op": "forget_key", "key": made["key"]})["forgotten"] is False
    assert fresh.end() == 0


def fork(loop: Loop, children: int) -> dict[str, Any]:
    """Return a request that forks so many children, by a holder whose key the loop made."""
    root, holder = (loop.ask({"op": "generate_key"})["key"] for _ in range(2))
    payload = {"iss": root, "aud": holder, "cmd": "/a", "pol": [], "nonce": "n"}
    request = {"op": "delegate", "key": root, "allow_vacuous": False}
    first = loop.ask({**request, "payload": {**payload, "nbf": NOW - 60, "exp": NOW + 60}})
    link = {"chain": 0, "cmd": "/a/b", "pol": [], "nonce": "f"}
    return {
        "op": "fork",
        "key": holder,
        "chains": [[first["jwt"]]],
        "children": [{"links": [link]}] * children,
        "now": NOW,
        "max_depth": 8,
        "allow_missing_prf": False,
        "allow_vacuous": False,
    }


def test_a_fork_of_many_is_answered_in_lines_and_then_the_next_request(loop: Loop) -> None:
    request = fork(loop, 1000)
    loop.send(json.dumps({"id": 6, "protocol": 1, **request}).encode() + b"\n" + HELLO)
    lines = [loop.answer() for _ in range(4)]
    assert [line.pop("id") for line in lines] == [6] * 4
    assert [line["more"] for line in lines] == [True, True, True, False]
    assert [len(line["children"]) for line in lines] == [256, 256, 256, 232]
    seeds = {child["seed"] for line in lines for child in line["children"]}
    assert len(seeds) == 1000
    assert loop.answer()["id"] == 5


def test_a_key_made_for_a_child_is_not_kept(loop: Loop) -> None:
    answer = loop.ask(fork(loop, 1))
    (child,) = answer["children"]
    assert loop.ask({"op": "forget_key", "key": child["aud"]})["forgotten"] is False


def test_it_ends_when_its_output_is_closed(binary: Path) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [binary, "serve"], stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
    ) as process:
        os.close(writer)
        os.close(reader)
        _, complaint = process.communicate(HELLO, timeout=10)
    assert (process.returncode, complaint) == (0, b"")


def test_non_blocking_descriptors_are_waited_for(binary: Path) -> None:
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()
    os.set_blocking(requests_out, False)
    os.set_blocking(answers_in, False)
    count = 1000
    with subprocess.Popen([binary, "serve"], stdin=requests_out, stdout=answers_in) as process:
        os.close(requests_out)
        os.close(answers_in)
        os.write(requests_in, b"".join(map(hello, range(count))))
        os.close(requests_in)
        with os.fdopen(answers_out, "rb") as answers:
            ids = [json.loads(line)["id"] for line in answers]
    assert ids == list(range(count))
    assert process.returncode == 0


def test_files_beside_it_are_not_run(binary: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "evil.ts").write_text(f'require("fs").writeFileSync({json.dumps(str(trace))}, "")')
    (tmp_path / "bunfig.toml").write_text('preload = ["./evil.ts"]\n')
    (tmp_path / ".env").write_text("BUN_OPTIONS=--preload=./evil.ts\n")
    run = subprocess.run(
        [binary, "serve"], input=HELLO, capture_output=True, cwd=tmp_path, check=False
    )
    assert json.loads(run.stdout)["ok"] is True
    assert not trace.exists()
