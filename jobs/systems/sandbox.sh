# shellcheck shell=bash disable=SC2034
# The two virtual nodes of scripts/slurm-sandbox; Debian's Open MPI needs PMIx, and to be told of root.
ranks_per_node=1
threads=1
partition=sandbox
runs=$PWD/runs
srun_options=(--mpi=pmix)

# The nodes share the cores of one machine: ranks that wait make room.
load_modules() {
    [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_mpi_yield_when_idle=1
}
