#!/usr/bin/env bash
# Runs on several hosts of this machine (scripts/lib/hosts.sh): the same digest on 1 to 4 of them, what the run record says of them, hosts
# that die at a random moment, and a cable that is cut. Called by scripts/test-faults as root, in namespaces of its own:
#
#   PAIRDIST_BIN=PROGRAM unshare --mount --net --pid --fork --mount-proc --kill-child scripts/lib/several-hosts.sh
#
# PAIRDIST_HOST_KILLS says how many hosts die [default: 10]. The program may be a build with fail points or without.
set -euo pipefail
unset CDPATH # which a shell may have, and cd heeds
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/lib/hosts.sh
. scripts/lib/hosts.sh
pairdist=$(realpath "$PAIRDIST_BIN")
kills=${PAIRDIST_HOST_KILLS:-10}
# a job must be over so many seconds after one of its hosts has died
patience=20
# the first process of a namespace of process numbers is deaf to signals that it has no trap for
trap 'exit 130' INT TERM

fail() {
    printf 'several-hosts: %s\n' "$*" >&2
    [ ! -s log ] || tail -n 40 log >&2
    exit 1
}

digest_in() { tr -d ' \n' <"$1" | sed -n 's/.*"digest":"\([0-9a-f]*\)".*/\1/p'; }

# check_record "HOSTS" RANKS: each host has its share of the ranks, in turn, in the record and in the log.
check_record() {
    local numbers ranks=$2 rank host used=0 list=() count=()
    read -ra numbers <<<"$1"
    for ((rank = 0; rank < ranks; rank++)); do
        host=${numbers[rank % ${#numbers[@]}]}
        list+=("\"h$host\"")
        count[host]=$((${count[host]:-0} + 1))
    done
    used=${#count[@]}
    tr -d ' \n' <run.json | grep -qF "\"ranks\":$ranks,\"nodes\":$used," || fail "not $ranks ranks on $used nodes: $(cat run.json)"
    tr -d ' \n' <run.json | grep -qF "\"hosts\":[$(IFS=, && printf %s "${list[*]}")]" || fail "not on ${list[*]}: $(cat run.json)"
    for host in "${!count[@]}"; do
        grep -Eq " h$host: ${count[host]} ranks? x 1 thread on cores " log || fail "no word of ${count[host]} ranks on h$host"
    done
}

# end_of_job: waits until the job $job is over on every host, and sets `code`.
end_of_job() {
    local waited=$SECONDS
    while [ -n "$(processes_on 1 2 3 4)" ]; do
        [ $((SECONDS - waited)) -le $patience ] || fail "after $patience s there are processes: $(processes_on 1 2 3 4 | xargs ps -f)"
        sleep 0.1
    done
    code=0
    wait "$job" || code=$?
    took=$((SECONDS - waited))
}

# start "HOSTS" RANKS OPTION ...: starts a job that writes out.h5 in the background.
start() {
    local hosts=$1 ranks=$2
    shift 2
    on_hosts "$hosts" "$ranks" "$pairdist" compute x.h5 -o out.h5 "${options[@]}" "$@" >log 2>&1 &
    job=$!
}

# is_resumed "HOSTS" RANKS: the run ends there, with the distances of a run that nothing befell, and leaves nothing else.
is_resumed() {
    rm -f run.json
    start "$1" "$2" --resume --json run.json
    wait "$job" || fail "resuming on the hosts $1 ended with code $?"
    check_record "$1" "$2"
    [ "$(digest_in run.json)" = "$digest" ] || fail "resumed on the hosts $1 to another digest"
    "$pairdist" verify out.h5 --all >log 2>&1 || fail "the result is not whole"
    rm run.json log out.h5
    [ "$(echo ./*)" = "./x.h5" ] || fail "there is more than the result: $(echo ./*)"
}

if ! mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
    echo "left out: several hosts, since mpirun is not that of Open MPI"
    exit
fi
make_hosts 4
mkdir /mnt/work
cd /mnt/work
"$pairdist" generate x.h5 --samples 2000 --features 50 2>/dev/null
options=(--tile 8 --threads 1 --checkpoint-interval 0.05 --neighbors 9 --matrix --condensed --radius 2.5)

digest=
for hosts in "1" "2 1" "3 2 4" "1 2 3 4"; do
    for ranks in 4 5; do
        on_hosts "$hosts" $ranks "$pairdist" compute x.h5 --no-output --threads 1 --json run.json >log 2>&1 || fail "a run on the hosts $hosts failed"
        check_record "$hosts" $ranks
        digest=${digest:-$(digest_in run.json)}
        [ "$(digest_in run.json)" = "$digest" ] || fail "another digest on the hosts $hosts"
        rm run.json log
    done
done
echo "the digest on 1 to 4 hosts is $digest"

killed=0 longest=0
while [ $killed -lt "$kills" ]; do
    start "1 2 3 4" 8
    # at any time, or while it computes
    if [ $((RANDOM % 4)) != 0 ]; then
        while kill -0 "$job" 2>/dev/null && ! [ -s out.h5.partial/journal.0 ]; do sleep 0.05; done
    fi
    sleep $((RANDOM % 4)).$((RANDOM % 10))
    dead=$((RANDOM % 4 + 1))
    kill_host $dead
    end_of_job
    if [ -e out.h5 ] && [ ! -d out.h5.partial ]; then
        # it was too late: the result had its name, whatever became of the launcher
        "$pairdist" verify out.h5 --all >log 2>&1 || fail "a result that is not whole, with code $code"
        rm out.h5 log
        continue
    fi
    [ $code != 0 ] || fail "code 0 without a result"
    killed=$((killed + 1))
    [ $took -le $longest ] || longest=$took
    # 1 to 3 of the others, on other numbers of ranks
    others=()
    for host in $(shuf -i 1-4); do
        [ "$host" = $dead ] || others+=("$host")
    done
    is_resumed "${others[*]:0:RANDOM % 3 + 1}" $((RANDOM % 5 + 1))
done
echo "$killed hosts died; their jobs were over within $longest s, and were resumed on other hosts to the same digest"

# Open MPI waits for a host without a cable for many minutes, unless `timeout` ends it, as docs/RELIABILITY.md has it
limit=20
start "1 2 3 4" 8
limit=
while kill -0 "$job" 2>/dev/null && ! [ -s out.h5.partial/journal.0 ]; do sleep 0.05; done
cut_cable 3
code=0
wait "$job" || code=$?
[ $code != 0 ] || fail "the run was over before the cable was cut"
sleep 5
[ -z "$(processes_on 1 2 4)" ] || fail "ranks have outlived mpirun: $(processes_on 1 2 4 | xargs ps -f)"
[ -n "$(processes_on 3)" ] || fail "ranks without a cable end by themselves now: say so in docs/RELIABILITY.md"
start "2 4" 3 --resume
code=0
wait "$job" || code=$?
[ "$code $(echo out.h5*)" = "1 out.h5.partial" ] || fail "resumed with code $code, though ranks of the run before are alive"
mend_cable 3
end_of_job
is_resumed "2 4" 3
echo "a cable was cut; its run was resumed when timeout had ended mpirun and the cable was mended"
