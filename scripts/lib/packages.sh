# shellcheck shell=bash disable=SC2034
# What pairdist needs on a machine: Debian packages, and the environment to build and launch it. Sourced by the scripts.

# To build with any MPI. libc6-dev is only recommended by gcc, so it is named.
compiler_packages=(
    gcc          # linker, and C compiler for the small C part of the MPI bindings
    libc6-dev    # headers and start-up files of C programs
    pkg-config   # finds the libraries
    libclang-dev # reads the MPI headers to make the Rust bindings
)

# mpirun, mpicc with the MPI headers, and HDF5 built for this MPI.
openmpi_packages=(openmpi-bin libopenmpi-dev libhdf5-openmpi-dev)
mpich_packages=(mpich libmpich-dev libhdf5-mpich-dev)

# To build and run.
build_packages=("${compiler_packages[@]}" "${openmpi_packages[@]}")

# To test, on top of that.
test_packages=(
    python3-venv # the Python environment of tests/oracle and tests/slurm
    shellcheck   # checks the scripts
    hdf5-tools   # h5dump, h5ls: a second reader of our files
)

# To try job scripts in scripts/slurm-sandbox, on top of that.
sandbox_packages=(
    slurm-wlm # sbatch and srun, controller and node daemons, with their PMIx plugin
    munge     # vouches for users between the daemons
)

# To make runs fail in scripts/test-faults, as root, on top of that.
faults_packages=(
    xfsprogs    # mkfs.xfs
    btrfs-progs # mkfs.btrfs
    bindfs      # a FUSE file system
    iproute2    # hosts of network namespaces
)

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Prints the comment at the top of a script.
show_help() { sed -n '2,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p}' "$1"; }

# For scripts that take --help and --dry-run, nothing else. Sets dry_run.
dry_run=0
read_arguments() {
    [ $# -le 1 ] || { show_help "$0" >&2 && exit 2; }
    case ${1-} in
        '') ;;
        --dry-run) dry_run=1 ;;
        -h | --help) show_help "$0" && exit 0 ;;
        *) show_help "$0" >&2 && exit 2 ;;
    esac
}

# As read_arguments, with --mpi openmpi|romio|mpich before or after: the MPI to build and launch with.
read_arguments_with_mpi() {
    local chosen=openmpi others=()
    while [ $# -gt 0 ]; do
        if [ "$1" = --mpi ]; then
            [ $# -ge 2 ] || die "--mpi needs a name: openmpi, romio or mpich"
            chosen=$2
            shift
        else
            others+=("$1")
        fi
        shift
    done
    read_arguments "${others[@]}"
    use_mpi "$chosen"
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Makes sure that the named Debian packages and Rust are there: root installs what is missing, anyone else is told how.
need_packages() {
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || die "cargo is missing: install Rust, see https://rustup.rs"
    if ! command -v dpkg-query >/dev/null; then
        need_other_system
        return
    fi
    local package missing=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ $dry_run = 1 ]; then
        say "missing: ${missing[*]}"
        return
    fi
    if [ "$(id -u)" != 0 ]; then
        say "These packages are missing. Install them and start again:" >&2
        say "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update
    "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null
}

# Not a Debian: nothing is installed, only looked for.
need_other_system() {
    local program
    for program in mpicc mpirun; do
        command -v "$program" >/dev/null || die "$program is missing: install MPI, HDF5 built with the same MPI, and libclang"
    done
    [ -n "${HDF5_DIR:-}" ] || die "set HDF5_DIR to the folder of an HDF5 built with your MPI (it holds include/ and lib/)"
}

# The MPI to build and launch with: openmpi; romio, which is Open MPI with the MPI-IO of MPICH in place of its own; or mpich, whose
# builds go to a folder of their own.
mpi=openmpi
use_mpi() {
    mpi=$1
    case $mpi in
        openmpi) ;;
        romio)
            mpi=openmpi
            # ROMIO has another name in each version of Open MPI: whatever is not OMPIO
            export OMPI_MCA_io=^ompio
            ;;
        mpich)
            command -v dpkg-query >/dev/null ||
                die "--mpi mpich is for Debian; elsewhere set HDF5_DIR, MPICC and MPIRUN to those of your MPI"
            # what is set is for another MPI
            unset HDF5_DIR MPICC MPIRUN
            build_packages=("${compiler_packages[@]}" "${mpich_packages[@]}")
            export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/mpich
            # by their plain names, which belong to Debian's default MPI
            PATH=$CARGO_TARGET_DIR/bin:$PATH
            [ $dry_run = 1 ] && return
            mkdir -p "$CARGO_TARGET_DIR/bin"
            local program
            for program in mpicc mpirun; do
                printf '#!/bin/sh\nexec %s.mpich "$@"\n' "$program" >"$CARGO_TARGET_DIR/bin/$program"
                chmod +x "$CARGO_TARGET_DIR/bin/$program"
            done
            ;;
        *) die "--mpi $mpi: it must be openmpi, romio or mpich" ;;
    esac
}

# Sets `binding`: options of mpirun that give each rank so many cores of its own.
bind_ranks() {
    # shellcheck disable=SC2034 # for the scripts that source this one
    if mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
        binding=(--map-by "slot:PE=$1")
    else
        binding=(--bind-to "core:$1")
    fi
}

# Debian keeps one HDF5 for each MPI; the build is pointed to the one for ours.
build_environment() {
    if [ -z "${HDF5_DIR:-}" ]; then
        HDF5_DIR=/usr/lib/$(gcc -print-multiarch 2>/dev/null || true)/hdf5/$mpi
        [ -d "$HDF5_DIR" ] || [ $dry_run = 1 ] || die "$HDF5_DIR is missing: set HDF5_DIR to the folder of an HDF5 built with your MPI"
        export HDF5_DIR
    fi
}

# Builds the program and sets PAIRDIST_BIN, unless that names one.
build_pairdist() {
    [ -z "${PAIRDIST_BIN:-}" ] || return 0
    need_packages "${build_packages[@]}"
    build_environment
    export PAIRDIST_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/pairdist
    [ $dry_run = 1 ] || cargo build --release --locked
}

# Open MPI refuses root, and more ranks than cores, unless told (the second name is that of Open MPI 5). hwloc, which mpirun asks for the
# cores, would load drivers of GPUs; one of them, PoCL, ends mpirun where it finds no memory of its own, as in a container without /sys.
launch_environment() {
    export HWLOC_COMPONENTS=${HWLOC_COMPONENTS:+$HWLOC_COMPONENTS,}-opencl,-cuda,-nvml,-rsmi,-levelzero,-gl
    [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
}
