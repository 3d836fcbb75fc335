#!/usr/bin/env bash
# The tests of kill, resume and publish on other file systems: XFS and Btrfs on loop devices, and bindfs, which keeps the names of open
# files as other FUSE file systems and NFS do. Called by scripts/test-faults as root, in namespaces of its own, so that what it mounts
# vanishes with it, however it ends:
#
#   unshare --mount --pid --fork --mount-proc --kill-child scripts/lib/other-file-systems.sh [xfs | btrfs | bindfs]
#
# PAIRDIST_KILLS says how many random kills on each. The tests make their folders there, and demand that a result leaves nothing beside it.
set -euo pipefail
unset CDPATH # which a shell may have, and cd heeds
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# the first process of a namespace of process numbers is deaf to signals that it has no trap for
trap 'exit 130' INT TERM
[ $# -gt 0 ] || set -- xfs btrfs bindfs

# mount_xfs FOLDER, and so on: a new file system there.
mount_xfs() { mount_image xfs "$1"; }
mount_btrfs() { mount_image btrfs "$1"; }
mount_bindfs() { mkdir -p /mnt/below && bindfs /mnt/below "$1"; }

# In a file that goes when it is no longer mounted.
mount_image() {
    local image code=0
    image=$(mktemp)
    { truncate --size=4G "$image" && "mkfs.$1" -q "$image" >/dev/null && mount -o loop "$image" "$2"; } || code=$?
    rm "$image"
    return $code
}

mount -t tmpfs tmpfs /mnt
failed=()
for type in "$@"; do
    printf '\n== tests on %s\n' "$type"
    mkdir "/mnt/$type"
    if ! "mount_$type" "/mnt/$type"; then
        echo "left out: $type, which this machine does not mount, for the reason above"
        continue
    fi
    TMPDIR=/mnt/$type OMPI_MCA_orte_tmpdir_base=/tmp cargo test --locked --release --features failpoints --no-fail-fast \
        --test compute --test failures --test resume || failed+=("$type")
    umount --lazy "/mnt/$type"
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'other-file-systems: failed on %s\n' "${failed[@]}" >&2
    exit 1
fi
