#!/usr/bin/env bash
# Trains on the machines that Slurm gives; from the repository root, after `make train-setup`:
#
#   sbatch --nodes=4 training/launch/slurm.sh --config training/configs/roadscene.yaml \
#     run_dir=/shared/runs/roadscene fit.batch=8
#
# All machines must see the repository, the data and run_dir. A step sees fit.batch x
# fit.accumulate x all GPUs images. When the job is preempted, its time is over or a machine fails,
# it is queued again and goes on from run_dir/last.pt; submitting it again by hand does the same.
#
#SBATCH --job-name=perception_train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# Minutes before its time is over this script, and it alone, is told.
#SBATCH --signal=B:USR1@180
set -euo pipefail

# Slurm runs a copy of this file, in the folder that the job was submitted from.
export TRAIN_PYTHON=${TRAIN_PYTHON:-$PWD/.venv-train/bin/python}
export PROCESSES=${SLURM_GPUS_ON_NODE:-1}  # of each machine: one for each GPU
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( ${SLURM_CPUS_PER_TASK:-PROCESSES} / PROCESSES ))}

# A store of its own for each attempt: else a machine that comes back is not let in.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

# Where machines have several networks, these name the fast one:
#   export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0 NCCL_IB_HCA=mlx5
# and these say what NCCL chose, and why it fails:
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}

# They meet on the first machine; the port is another one for each job that runs there.
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MEET=${machines[0]}:$(( 20000 + SLURM_JOB_ID % 20000 ))

# One agent a machine, which starts its processes and starts them again when one of them dies.
# shellcheck disable=SC2016 # the variables are those of the machine that it runs on
agent='exec "$TRAIN_PYTHON" -m torch.distributed.run \
  --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$PROCESSES" --max-restarts=3 \
  --rdzv-backend=c10d --rdzv-endpoint="$MEET" --rdzv-id="$SLURM_JOB_ID" \
  --rdzv-conf=is_host=$(( SLURM_NODEID == 0 )) --local-addr="$SLURMD_NODENAME" \
  --shutdown-timeout=120 -m perception_training.cli fit "$@"'
srun bash -c "$agent" agent "$@" &
run=$!

queue_again() {
  trap '' USR1
  kill -TERM "$run"  # srun tells all processes: they finish the step and keep it
  wait "$run" || true
  echo "job $SLURM_JOB_ID: its time is over, it is queued again"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap queue_again USR1

wait "$run"
