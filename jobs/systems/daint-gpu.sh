# shellcheck shell=bash disable=SC2034
# Piz Daint of CSCS, Cray XC50 (retired): Xeon E5-2690 v3, 12 cores, beside a GPU that pairdist does not use; Lustre with 40
# targets. One rank per node, no hyper-threads.
cores=12
ntasks_per_core=1
ranks_per_node=1
threads=12
partition=normal
constraint=gpu
more_options=(--exclusive)
srun_options=(--hint=nomultithread)
runs=${SCRATCH:+$SCRATCH/pairdist}

load_modules() {
    module load daint-gpu
    module swap PrgEnv-cray PrgEnv-gnu
    module load cray-hdf5-parallel
    export MPICH_MPIIO_HINTS_DISPLAY=1 MPICH_MPIIO_STATS=1
}
stripe() { lfs setstripe --stripe-count 40 "$1"; }
