# shellcheck shell=bash disable=SC2034
# Any Slurm site: a start for a file of your own. --ranks-per-node and --threads must say how to fill a node;
# modules are those that are loaded when the job is submitted, since sbatch hands the environment on.
ranks_per_node=1
more_options=(--exclusive --hint=nomultithread) # a thread for each core, not for each hyper-thread
srun_options=(--hint=nomultithread)
runs=${SCRATCH:+$SCRATCH/pairdist}
runs=${runs:-$PWD/runs}
