# shellcheck shell=bash
# Several hosts on one machine: network namespaces on a bridge, each with an address and a host name of its own. Open MPI starts
# ranks on them through a stand-in for ssh, and ranks of different hosts talk through TCP. All see the same files. Sourced by scripts
# that run as root in namespaces of their own, so that the hosts vanish with the script, however it ends:
#
#   unshare --mount --net --pid --fork --mount-proc --kill-child SCRIPT

net=10.77.0

# make_hosts N: hosts h1 to hN. Their files go to a folder in memory, /mnt in this mount namespace.
make_hosts() {
    local host
    mount -t tmpfs tmpfs /mnt
    # where ip keeps the names of network namespaces
    mkdir -p /run/netns
    mount -t tmpfs tmpfs /run/netns
    ip link set lo up
    ip link add cables type bridge
    ip address add $net.254/24 dev cables
    ip link set cables up
    for ((host = 1; host <= $1; host++)); do
        ip netns add "h$host"
        ip link add "cable$host" type veth peer name eth0 netns "h$host"
        ip link set "cable$host" master cables up
        ip -n "h$host" address add "$net.$host/24" dev eth0
        ip -n "h$host" link set eth0 up
        ip -n "h$host" link set lo up
    done
    # called as ssh is: options, address, command
    cat >/mnt/rsh <<'END'
#!/usr/bin/env bash
while [ "${1#-}" != "$1" ]; do shift; done
host=h${1##*.}
shift
exec ip netns exec "$host" unshare --uts bash -c "hostname $host; $*"
END
    chmod +x /mnt/rsh
    export OMPI_MCA_plm_rsh_agent=/mnt/rsh OMPI_MCA_orte_tmpdir_base=/mnt
    export OMPI_MCA_btl_tcp_if_include=$net.0/24 OMPI_MCA_oob_tcp_if_include=$net.0/24 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_pml=ob1
}

# on_hosts "HOSTS" RANKS COMMAND ...: mpirun on the first of the hosts, given by their numbers, with ranks in turn on each. It is ended
# after `limit` seconds, if that is set.
limit=
on_hosts() {
    local numbers ranks=$2 host list=()
    read -ra numbers <<<"$1"
    shift 2
    for host in "${numbers[@]}"; do
        list+=("$net.$host:$ranks")
    done
    # shellcheck disable=SC2016 # expanded on the host
    ip netns exec "h${numbers[0]}" unshare --uts bash -c 'hostname "$0"; exec "$@"' "h${numbers[0]}" \
        ${limit:+timeout --kill-after=5 "$limit"} mpirun --host "$(IFS=, && printf %s "${list[*]}")" --map-by node --bind-to none -n "$ranks" "$@"
}

# What runs on hosts: process numbers.
processes_on() {
    local host
    for host in "$@"; do
        ip netns pids "h$host"
    done
}

# kill_host HOST: all its processes die at once.
kill_host() {
    processes_on "$1" | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
}

cut_cable() { ip link set "cable$1" down; }
mend_cable() { ip link set "cable$1" up; }
