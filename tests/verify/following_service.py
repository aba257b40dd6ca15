"""A service in a process of its own that prints the result for every token it reads."""

from __future__ import annotations

import os
import sys
from typing import Any

from standalone import NOTE, READ

from nomos import Denied, Verifier


def result_of(verifier: Verifier, token: str) -> str:
    """How a token is taken: `allowed`, or the code and the sentence of its refusal."""
    try:
        verifier.verify(token, command=READ, resource=NOTE)
    except Denied as denied:
        return f"{denied.code} {denied}"
    return "allowed"


def main(url: str, audience: str, api_key: str, *more: str) -> None:
    settings: dict[str, Any] = dict(each.split("=", 1) for each in more)
    with Verifier.from_control_plane(
        url, audience=audience, api_key=api_key, **settings
    ) as verifier:
        print("ready", flush=True)
        for line in sys.stdin:
            word, _, token = line.strip().partition(" ")
            if word == "fork":
                in_a_child(verifier, token)
            else:
                print(result_of(verifier, token), flush=True)


def in_a_child(verifier: Verifier, token: str) -> None:
    """Fork, and let the child answer from then on; the parent answers when it is gone."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(result_of(verifier, token), flush=True)
        return
    try:
        print("forked", flush=True)  # from now on this one reads, and nothing is left half read
        for line in iter(sys.stdin.readline, "end\n"):
            print(result_of(verifier, line.strip().partition(" ")[2]), flush=True)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
