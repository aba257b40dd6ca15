# Shortcuts for what the documentation says in full; nothing needs this file. `.ci/run` is what must pass.
# https://just.systems: `uv tool install rust-just`, then `just` lists the recipes.

set positional-arguments

[private]
default:
    @just --list --unsorted

# Lint, formatting, types, and the generated files: a minute
check:
    uv run ruff check .
    uv run ruff format --check .
    uv run mypy
    uv run python tools/generate_protocol.py --check
    uv run python tools/generate_architecture.py --check
    uv run python tools/compare_picture.py > /dev/null

# Python's tests: `just test`, `just test tests/policy`, `just test -k expired`
test *args:
    uv run pytest "$@"

# Everything that must pass before a change lands, coverage and TypeScript included
test-slow:
    .ci/run

# The TypeScript: types, tests, coverage
[working-directory: 'ucan-bin']
test-typescript: _node_modules
    npm run check
    npm test

# The public API as pyright sees it (mypy is in `just test tests/test_typing.py`)
typing *args:
    uvx --from 'pyright[nodejs]' pyright -p typing_tests "$@"

# One benchmark beside its alternative: `just bench verifying`
bench name='minting':
    PYTHONPATH=tests:tests/verify uv run python tests/bench/{{ name }}.py

# The compiled binary, driven over its pipe for so many seconds: `just fuzz 600 SEED`
fuzz seconds='60' *seed:
    uv run python tests/fuzz/lines.py "$@"

# The parser under Node, steered by the branches that an input takes
[working-directory: 'ucan-bin']
fuzz-parser seconds='60' *seed: _node_modules
    npm run fuzz -- "$@"

# Mutation testing of the TypeScript: `just mutants 'src/verify/links.ts'`
[working-directory: 'ucan-bin']
mutants *globs:
    npm run mutants -- "$@"

# Pictures of the approval pages; needs Debian's chromium
screenshots *folder:
    uv run python tools/screenshots.py "$@"

# Write the cases in tests/vectors; `just vectors --check` or `--count` writes nothing
vectors *args:
    uv run python tests/vectors/generate.py "$@"

# Write the protocol's schema and TypeScript; `just protocol --check` writes nothing
protocol *args:
    uv run python tools/generate_protocol.py "$@"

# Write the module lists of ARCHITECTURE.md; `just architecture --check` writes nothing
architecture *args:
    uv run python tools/generate_architecture.py "$@"

# The whole system, step by step, with real processes
demo *args:
    uv run nomos demo "$@"

[private]
[working-directory: 'ucan-bin']
_node_modules:
    test -d node_modules || npm ci --silent --no-audit --no-fund
