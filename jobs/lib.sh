# shellcheck shell=bash disable=SC2034,SC2154,SC2164 # set and used by the other parts; a failed cd ends the job
# What all jobs share. A part of every job script, before the system, the settings of the run, and the job.

# counted COUNT NOUN: the noun in the singular or plural.
counted() {
    if [ "$1" = 1 ]; then printf '1 %s\n' "$2"; else printf '%s %ss\n' "$1" "$2"; fi
}

# As the system fills a node: 2 ranks x 4 threads.
layout() { printf '%s x %s\n' "$(counted "$ranks_per_node" rank)" "$(counted "$threads" thread)"; }

die() {
    printf 'pairdist job: %s\n' "$*" >&2
    exit 1
}

# What a system may replace: modules, the layout of files in a folder, how ranks are started, how a job gets in line again, and what
# its user types to take it up.
load_modules() { :; }
list_modules() { ! command -v module >/dev/null || module list 2>&1; }
stripe() { :; }
requeue() {
    local pause
    for pause in 10 20 30; do
        ! scontrol requeue "$SLURM_JOB_ID" || return 0
        sleep $pause # the controller may be busy
    done
    return 1
}
take_up='sbatch job.sh'
srun_options=()

# Starts a command on all ranks of so many nodes.
#
# -K1 ends a step when a rank ends with an exit code other than 0, since the others would wait for it. A rank that stopped in time (75)
# must not end those that are still about to, so it counts as an orderly end: whether the result is complete, its name tells.
# Ranks get the environment of the job, whatever the site hands on by default (SLURM_EXPORT_ENV). The shell in between outlives the signals that Slurm sends to all processes of a step. SIGUSR1 is ignored but by `compute` and
# `generate`, which watch for it: verify takes the seconds it needs.
launch() {
    local nodes=$1
    shift
    # shellcheck disable=SC2016 # for the shell of the rank
    srun --nodes="$nodes" --ntasks=$((nodes * ranks_per_node)) --ntasks-per-node="$ranks_per_node" \
        --cpus-per-task="$threads" --export=ALL -K1 "${srun_options[@]}" \
        bash -c 'trap "" USR1; trap : TERM; "$@" || [ $? = 75 ]' rank "$@"
}

# Enters the run's folder, loads modules, and writes down where and with what this start of the job runs.
prepare() {
    cd "$run"
    stripe result
    make_start_folder
    load_modules
    list_modules >"$here/modules.txt" || true
    set -u # not before: the modules of some systems need unset variables
    export OMP_NUM_THREADS=$threads
    # no drivers of GPUs for mpirun and the ranks
    export HWLOC_COMPONENTS=${HWLOC_COMPONENTS:+$HWLOC_COMPONENTS,}-opencl,-cuda,-nvml,-rsmi,-levelzero,-gl
    record=$here/record.json
    (umask 077 && env | sort >"$here/environment.txt") # for the user's eyes: an environment may hold secrets
    # not in a container that hides the processors
    lscpu >"$here/lscpu.txt" 2>&1 || cat /proc/cpuinfo >>"$here/lscpu.txt"
    "$pairdist" --version >"$here/version.txt"
    printf '%s start %s of %s on %s: %s x %s\n' \
        "$(date -u +%FT%TZ)" "${here#*/}" "$job" "${SLURM_JOB_NODELIST:-$(hostname)}" "$(counted "$nodes" node)" "$(layout)"
}

# Makes the next one of starts/001, starts/002, ...: a folder of its own for each job, even if two of one job.sh start at once.
make_start_folder() {
    local number=1
    until
        here=starts/$(printf '%03d' $number)
        mkdir "$here" 2>/dev/null
    do
        [ -d "$here" ] || die "$run/$here cannot be made; free the disk"
        number=$((number + 1))
    done
}

# Computes on so many nodes; the run record waits in the folder of this start to be kept. Without one, the run was stopped in time.
compute() {
    local nodes=$1
    shift
    rm -f "$record"
    launch "$nodes" "$pairdist" compute "$@" --json "$record"
}

# Keeps the record under the next free number in the folder of the study; other jobs may write there too. First all of it is there,
# then it gets the number: a full disk leaves no half of a record.
keep_record() {
    [ -e "$record" ] || die "the run was stopped before its end; submit again with more --time"
    local number=1 name copy=$study/.${SLURM_JOB_ID-}.$$.new
    if ! cp "$record" "$copy"; then
        rm -f "$copy"
        die "the record cannot be written to $study; free the disk, or name another --study. It is $run/$record"
    fi
    until
        name=$study/$(printf '%04d' $number).json
        ln "$copy" "$name" 2>/dev/null
    do
        # a file system without links
        [ -e "$name" ] || { mv "$copy" "$name" && break; } || die "$name cannot be made; the record is $run/$record"
        number=$((number + 1))
    done
    rm -f "$copy" "$record"
    printf 'record %s\n' "$name"
}

# Before the runs that count: says in the study what its plots should say of it, unless another job with the same to say did, and
# computes once on all nodes without a record, since what runs first reads the program from the disk.
begin_study() {
    local samples=$1 about=$study/about.txt what
    what="$(machine); program of commit $(sed -n 's/.*(commit \(.*\))/\1/p' "$here/version.txt")"
    grep -qsF "$what" "$about" || printf '%s, %s\n' "$what" "$(date +%F)" >>"$about"
    compute "$nodes" "$samples" --metric "$metric" --no-output
}

machine() {
    local model
    model=$(sed -n '/^model name/{s/^[^:]*: //p;q}' /proc/cpuinfo)
    printf '%s: %s; %s a node\n' "$system" "${model:-$(uname -m)}" "$(layout)"
}

# Measures one size on so many nodes, with output and without. What this node has not written yet is written before (sync).
measure() {
    local nodes=$1 samples=$2 out=$run/result/distances.h5
    sync
    compute "$nodes" "$samples" --metric "$metric" --output "$out"
    keep_record
    rm "$out"
    sync
    compute "$nodes" "$samples" --metric "$metric" --no-output
    keep_record
}
