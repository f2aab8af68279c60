# The first process of the lab, in namespaces of its own; becomes the laptop. Called by __main__.py:
#   inside.sh WORLD HOME KEPT... -- COMMAND...
set -eu
world=$1
shift
kept="$world"
# Temporary files of `ray` on the laptop (sockets of SSH, states of clusters) fall into the lab's folder.
mkdir -p "$world/tmp"
while [ "$1" != -- ]; do
    kept="$kept
$1"
    shift
done
shift
printf '%s\n' "$kept" | while IFS= read -r path; do
    case $path in
    /tmp/*)
        mkdir -p "$world/tmp/${path#/tmp/}"
        mount --rbind "$path" "$world/tmp/${path#/tmp/}"
        ;;
    esac
done
mount --rbind "$world/tmp" /tmp
mount -t tmpfs tmpfs /dev/shm
hostname laptop
exec "$@"
