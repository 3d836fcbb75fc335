# shellcheck shell=bash disable=SC2034,SC2154
# The two virtual nodes of scripts/slurm-sandbox, which share the cores of one machine. Debian's Open MPI needs PMIx, and to be told of
# root; its MPICH needs PMI 2.
ranks_per_node=1
threads=1
partition=sandbox
most_nodes=2
shared_cores=$(getconf _NPROCESSORS_ONLN)
warning=12 # so that jobs of a minute can go on
more_options=(--licenses=machine) # one job at a time
runs=$PWD/runs

# The nodes share one machine: ranks that wait make room for others; and messages go through the TCP of UCX. With the shared memory of Open
# MPI several ranks on each of two nodes of one name would hang, and with its own TCP one in fifty starts of version 4.1.4 crashes in
# MPI_Init (btl/tcp, a message before its receiver is ready). MPICH finds its own way; told to use TCP, it hangs in MPI_Finalize.
load_modules() {
    # as srun --mpi
    if [[ $(ldd "$pairdist") == *libmpich* ]]; then
        export SLURM_MPI_TYPE=pmi2
        return
    fi
    export SLURM_MPI_TYPE=pmix
    [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_mpi_yield_when_idle=1
    export OMPI_MCA_pml=ucx OMPI_MCA_pml_ucx_tls=any OMPI_MCA_pml_ucx_devices=any UCX_TLS=self,tcp
}
