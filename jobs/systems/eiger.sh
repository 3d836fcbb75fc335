# shellcheck shell=bash disable=SC2034
# Eiger, the Alps cluster of CSCS for processors: 2 x AMD EPYC 7742, 128 cores in 8 NUMA regions, Lustre. One rank per region, no
# hyper-threads. Programming environment: uenv prgenv-gnu, which has no Rust: bring a toolchain. https://docs.cscs.ch
cores=128
ranks_per_node=8
threads=16
partition=normal
more_options=(--exclusive --hint=nomultithread --uenv=prgenv-gnu/25.11 --view=default)
srun_options=(--hint=nomultithread)
runs=${SCRATCH:+$SCRATCH/pairdist}

load_modules() { export MPICH_MPIIO_HINTS_DISPLAY=1 MPICH_MPIIO_STATS=1; }
stripe() { lfs setstripe --stripe-count 32 --stripe-size 4M "$1"; }
