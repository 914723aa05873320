#!/usr/bin/env bash
# Makes the environment if needed, restores a short real clip with the bundled model, and prints where the result is.
set -euo pipefail
. "$(dirname "$0")/environment.sh" ""  # else it would take the first argument for its own
mkdir -p runs/demo
.venv/bin/python -m seedvr2.infer --input docs/demo/lq.mp4 --output runs/demo/restored.mp4 --scale 2 --model tiny --fidelity 1 \
    --compare --overwrite "$@"
echo "restored:   $PWD/runs/demo/restored.mp4"
echo "comparison: $PWD/runs/demo/restored_compare.mp4 (bicubic left, restored right)"
