#!/usr/bin/env bash
# Trains on several nodes. From the checkout, on a file system that all nodes see:
#
#     sbatch --nodes 9 scripts/train_slurm.sh +experiment=apt_7b run.dir=runs/apt_7b data.root=CLIPS \
#         run.weights=ckpts/seedvr_ema_7b.pth
#
# Options of sbatch before the script's name override the ones below. Ten minutes before the time limit the run saves and
# stops, and the job is queued again, until training is finished. See docs/launch.md.
#SBATCH --job-name=seedvr2
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch --nodes N scripts/train_slurm.sh +experiment=NAME run.dir=DIR [override ...]" >&2
    exit 2
fi
export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# How long torchrun lets its processes save before it kills them (its own default is 30 s).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-540}"
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=$((29500 + SLURM_JOB_ID % 1000)) # jobs that share a node need different ones

# Slurm tells only this shell; the step's tasks are the torchruns, which pass the signal on. (A SIGTERM to srun itself
# would end the step at once.)
stopping=
trap 'stopping=yes; scancel --signal=TERM "$SLURM_JOB_ID"' TERM

# One node ends a little before the others while these still write: no --kill-on-bad-exit, but not for ever either.
srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=600 \
    torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-gpu}" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:$port" --max-restarts 0 \
    -m seedvr2.train "$@" &
step=$!
code=0
wait "$step" || code=$?
while [ -n "$stopping" ] && kill -0 "$step" 2>/dev/null; do # the trap ended the first wait
    code=0
    wait "$step" || code=$?
done
if [ -n "$stopping" ]; then
    echo "stopped before the time limit: job $SLURM_JOB_ID goes back to the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$code"
