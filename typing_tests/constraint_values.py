"""`nomos.constraints`: what can be built and joined."""

from typing import Any, assert_type

from nomos import AuthGuard
from nomos.constraints import (
    Constraint,
    all_of,
    any_of,
    at_least,
    at_most,
    between,
    each,
    eq,
    from_pol,
    like,
    not_,
    not_eq,
    one_of,
    some,
    under,
    url,
)

assert_type(eq("state", "open"), Constraint)
assert_type(not_eq("state", None), Constraint)
assert_type(one_of("state", {"open", "closed"}), Constraint)
assert_type(between("n", 1, 2.5), Constraint)
assert_type(at_most("n", 3) & at_least("n", 1), Constraint)
assert_type(eq("a", 1) | eq("b", 2), Constraint)
assert_type(~like("to", "*@example.com"), Constraint)
assert_type(under("path", "src"), Constraint)
assert_type(url("hook", host="api.example.com", path_prefix="/v1", query=True), Constraint)
assert_type(all_of(eq("a", 1), any_of(eq("b", 2), not_(eq("c", 3)))), Constraint)
assert_type(each("to", some(".", eq("name", "me"))), Constraint)
assert_type(from_pol([["==", ".args.state", "open"]]), Constraint)
assert_type(eq("state", "open").pol, list[Any])
assert_type(str(eq("state", "open")), str)


def in_a_question(guard: AuthGuard) -> None:
    guard.authorize(command="/a/b", resource={"provider": "a"}, constraints=eq("n", 1))
    guard.authorize(command="/a/b", resource={"provider": "a"}, constraints=[eq("n", 1)])
