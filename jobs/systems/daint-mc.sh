# shellcheck shell=bash disable=SC2034
# Piz Daint of CSCS, Cray XC40 (retired): 2 x Xeon E5-2695 v4, 36 cores, Lustre with 40 targets. One rank per socket, no
# hyper-threads.
cores=36
ntasks_per_core=1
ranks_per_node=2
threads=18
partition=normal
constraint=mc
more_options=(--exclusive)
srun_options=(--hint=nomultithread)
runs=${SCRATCH:+$SCRATCH/pairdist}

load_modules() {
    module load daint-mc
    module swap PrgEnv-cray PrgEnv-gnu
    module load cray-hdf5-parallel
    export MPICH_MPIIO_HINTS_DISPLAY=1 MPICH_MPIIO_STATS=1
}
stripe() { lfs setstripe --stripe-count 40 "$1"; }
