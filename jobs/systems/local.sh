# shellcheck shell=bash disable=SC2034,SC2154
# This machine, without Slurm: mpirun starts the ranks, and the job starts itself again. A "node" is a group of ranks; the groups
# share the cores of the machine, of which a scaling job takes no more than there are.
launcher=mpirun
ranks_per_node=1
threads=1
shared_cores=$(getconf _NPROCESSORS_ONLN)
runs=$PWD/runs
take_up='bash job.sh 2>&1 | tee -iap job.log'

# Open MPI refuses root, and more ranks than cores, unless told (the last name is that of Open MPI 5).
load_modules() {
    [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
}

# pairdist reads the threads of a rank from Slurm's variable. Ctrl-C ends the job: mpirun of MPICH hands it to the ranks, and then ends as
# if nothing had been.
launch() {
    local nodes=$1 interrupted=''
    shift
    trap 'interrupted=1' INT
    SLURM_CPUS_PER_TASK=$threads mpirun -n $((nodes * ranks_per_node)) --bind-to none "$@" || [ $? = 75 ] || return
    [ -z "$interrupted" ]
}

requeue() { exec bash "$run/job.sh"; }
