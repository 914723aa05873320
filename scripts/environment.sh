# Makes .venv with this package (editable) and the extras given as $1, unless it is there and current. Sourced by the other scripts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "seedvr2 needs Python 3.11 or newer with the venv module: install it, or set PYTHON=/path/to/python3" >&2
    return 1
}

stamp=.venv/installed
wanted="$(cat pyproject.toml) extras=$extras"
if [ ! -f "$stamp" ] || ! grep -qxF -- "$(printf '%s' "$wanted" | cksum)" "$stamp"; then
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python)
        echo "making .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    echo "installing seedvr2 and what it needs (several GB with CUDA builds of torch, a few minutes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
    printf '%s' "$wanted" | cksum >>"$stamp"
fi
