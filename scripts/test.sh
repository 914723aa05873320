#!/usr/bin/env bash
# Makes the environment if needed and runs the tests, a process per core; further arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh" test
.venv/bin/ruff check .
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder "$@"
