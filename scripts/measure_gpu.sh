#!/usr/bin/env bash
# What only a GPU can tell, the most telling first: its tests, the autoencoder beside its plain path, and the paper's
# clip with the 3B and with the 7B. Ten minutes at most: each step has its time, and what it measured by then is kept.
#
#     bash scripts/measure_gpu.sh [FOLDER]     # of the reports, docs/benchmarks if not given
set -uo pipefail
folder=$(realpath -m "${1:-docs/benchmarks}") python=${PYTHON:-python}
cd "$(dirname "$0")/.."

within() {
    local seconds=$1
    shift
    echo "within $seconds s: $*"
    timeout --kill-after 10 "$seconds" "$python" "$@" || { echo "ended with code $?"; failed=1; }
}

"$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())" || {
    echo "PyTorch finds no GPU here; scripts/bench_infer.py --device cpu measures a CPU" >&2
    exit 2
}
failed=0
within 120 -m pytest -q -m gpu
within 90 scripts/bench_vae.py --frames 9 --height 768 --width 1344 --dtypes bf16 fp32 --repeats 3 \
    --out "$folder/vae_released_gpu.json"
clip=(--sizes 1344x768 --frames 101 --repeats 3)
within 240 scripts/bench_infer.py --models 3b --paths fast plain "${clip[@]}" --output "$folder/infer_3b.json"
within 120 scripts/bench_infer.py --models 7b --paths fast --stages generate all "${clip[@]}" \
    --output "$folder/infer_7b.json"
exit $failed
