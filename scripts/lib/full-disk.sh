#!/usr/bin/env bash
# Fills a small file system while a run writes to it, makes room again, and takes the run up. Called by scripts/test-faults in
# a mount namespace of its own; PAIRDIST_BIN names the program, a build with fail points or without.
set -euo pipefail
pairdist=$(realpath "$PAIRDIST_BIN")
folder=$(mktemp -d)
log=$(mktemp) # elsewhere: the disk will be full
mount -t tmpfs -o size=24m tmpfs "$folder"
trap 'cd / && umount --lazy "$folder" && rmdir "$folder" && rm "$log"' EXIT
cd "$folder"
fail() {
    printf 'full-disk: %s\n' "$*" >&2
    exit 1
}

# samples of 16 MB in 24 MB, killed once their space is reserved: the next run may use that space, and a stranger finds none of it
start() {
    "$pairdist" generate y.h5 --samples 2000 --features 1000 2>"$log" &
    generator=$!
    until [ -e y.h5.partial/token ] || [ -e y.h5 ]; do :; done
    kill -STOP $generator 2>/dev/null || true
}
start
kill -KILL $generator 2>/dev/null || true
wait $generator || true
rm -f y.h5
start
head -c 24M /dev/zero >stranger 2>/dev/null || true
kill -CONT $generator 2>/dev/null || true
wait $generator || fail "generate did not keep its space: $(cat "$log")"
code=0
mpirun -n 2 "$pairdist" generate z.h5 --samples 2000 --features 1000 2>"$log" || code=$?
[ $code = 1 ] || fail "samples that do not fit ended with code $code"
grep -q 'make room' "$log" || fail "no word of the disk: $(cat "$log")"
[ ! -e z.h5.partial ] || fail "a working folder of generate was left behind"
rm y.h5 stranger

"$pairdist" generate x.h5 --samples 1500 --features 4
# 18 MB of distances in 24 MB: a stranger's 12 MB leave too little
head -c 12M /dev/zero >stranger
code=0
mpirun -n 2 "$pairdist" compute x.h5 -o out.h5 2>"$log" || code=$?
[ $code = 1 ] || fail "a result that does not fit ended with code $code"
grep -q 'make room' "$log" || fail "no word of the disk: $(cat "$log")"
[ ! -e out.h5.partial ] || fail "a working folder was left behind"

rm stranger
mpirun -n 2 "$pairdist" compute x.h5 -o out.h5 --tile 100 --time-limit 00:00:00 2>/dev/null || code=$?
[ $code = 75 ] || fail "stopping ended with code $code"
# the space of the matrix is reserved: what fills the disk now takes none of it
head -c 24M /dev/zero >stranger 2>/dev/null || true
code=0
mpirun -n 2 "$pairdist" compute x.h5 -o out.h5 --resume --checkpoint-interval 0 2>"$log" || code=$?
[ ! -e out.h5 ] || [ $code = 0 ] || fail "a result with code $code"
if [ $code != 0 ]; then
    # the journals found no room
    grep -q '^pairdist: ' "$log" || fail "no sentence: $(cat "$log")"
    rm stranger
    mpirun -n 2 "$pairdist" compute x.h5 -o out.h5 --resume
fi
"$pairdist" verify out.h5 --all

# what lies within a radius: 27 MB in pieces, and as much again when they are put together
rm -f out.h5 stranger
for step in "24m spool" "44m result"; do
    read -r size what <<<"$step"
    mount -o remount,size="$size" "$folder"
    code=0
    mpirun -n 2 "$pairdist" compute x.h5 -o out.h5 --tile 100 --radius inf --resume --checkpoint-interval 0 2>"$log" || code=$?
    [ $code = 1 ] || fail "a radius whose $what does not fit ended with code $code: $(cat "$log")"
    grep -q 'make room.*--resume' "$log" || fail "no way on from a full disk: $(cat "$log")"
    [ ! -e out.h5 ] || fail "a result whose $what does not fit"
done
mount -o remount,size=80m "$folder"
mpirun -n 3 "$pairdist" compute x.h5 -o out.h5 --tile 100 --radius inf --resume --json run.json
grep -q '"resumed_pairs": 2250000' run.json || fail "tiles were computed again, though their pieces were there"
"$pairdist" verify out.h5 --all
