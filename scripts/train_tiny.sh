#!/usr/bin/env bash
# Trains seedvr2-tiny from raw files to the weights of both ends, on two CPU cores: bash scripts/train_tiny.sh DIR RUN
# DIR holds the files of docs/tiny_data.md. The decoder learns beside the generator. Killed, the same command goes on.
# Generators learn in bf16. The autoencoder learns in fp32: it starts as a codec whose large constants bf16 blurs.
set -euo pipefail
[ $# = 2 ] || { echo "usage: bash scripts/train_tiny.sh DIR RUN" >&2; exit 2; }
data=$1 run=$2 python=${PYTHON:-python}
vae=$run/vae/final/vae.safetensors
cached=() ends=() # latents are made once
for stage in base distill tune; do cached+=("stages.$stage.feed.cache=$run/latents"); done
for stage in faithful vivid; do ends+=("stages.$stage.feed.cache=$run/latents"); done

train() { # settings, and ~stages that are left out
    "$python" -m seedvr2.train +experiment=tiny data.root="$data" "$@"
}
together() { # a module and its settings, on both cores
    "$python" -m torch.distributed.run --standalone --nproc-per-node 2 -m "$@"
}

first=('~stages.base' '~stages.distill' '~stages.tune')
last=('~stages.restored' '~stages.faithful' '~stages.vivid')
train run.dir="$run" run.threads=2 '~stages.decoder' "${first[@]}" "${last[@]}"
together seedvr2.precompute data=tiny data.root="$data" vae=tiny weights="$vae" output="$run/latents" \
    'samples=[8000,300]' draws=2 per_shard=100 workers=0 threads=1
if [ ! -d "$run/decoder" ]; then
    train run.dir="$run-decoder" run.weights="{vae: $vae}" '~stages.vae' "${first[@]}" "${last[@]}" &
fi
train run.dir="$run" run.precision=bf16 '~stages.decoder' "${last[@]}" "${cached[@]}"
wait
if [ ! -d "$run/decoder" ]; then
    grep -q '"stage": "decoder"' "$run/metrics.jsonl" || cat "$run-decoder/metrics.jsonl" >> "$run/metrics.jsonl"
    cp -r "$run-decoder/decoder" "$run/decoder.part"
    mv "$run/decoder.part" "$run/decoder"
fi
together seedvr2.train +experiment=tiny data.root="$data" run.dir="$run" '~stages.faithful' '~stages.vivid' "${cached[@]}"
train run.dir="$run" run.precision=bf16 "${cached[@]}" "${ends[@]}"
