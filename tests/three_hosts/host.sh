# First process of a host, in namespaces of its own; becomes its SSH server. Called by hosts.py:
#   host.sh NAME ADDRESS GATEWAY WORLD HOME KEPT...
# WORLD is the test's folder; WORLD/hosts/NAME holds what belongs to this host alone. KEPT are folders that every host
# sees as they are: the interpreter, the environment with the dependencies, the checkout.
set -eu
name=$1 address=$2 gateway=$3 world=$4 home=$5
shift 5
own=$world/hosts/$name
hostname "$name"

# Make a folder empty for this host but for what is kept in it: fresh FOLDER SUBSTITUTE
fresh() {
    folder=$1 instead=$2
    mkdir -p "$instead"
    shift 2
    for path in "$@"; do
        case $path in
        "$folder"/*)
            mkdir -p "$instead/${path#"$folder"/}"
            mount --rbind "$path" "$instead/${path#"$folder"/}"
            ;;
        esac
    done
    mount --rbind "$instead" "$folder"
}
fresh "$home" "$own/home" "$world" "$@"
fresh /tmp "$own/tmp" "$world" "$@"
mount --bind "$own/disk" "$world/disk" # the same path on every host, and on each another disk
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -p /run/sshd /tmp/ray
# The server lets nobody into a locked account, which root's may be. No password, nobody else's line.
(umask 077 && echo 'root:*:20000:0:99999:7:::' >"$own/shadow")
mount --bind "$own/shadow" /etc/shadow
touch "$home/.bashrc"
cd /

# The wheel is what runs here: the checkout's packages cannot be seen, and the environment cannot be written.
environment=$1 checkout=$2
mount --bind "$environment" "$environment"
mount -o remount,bind,ro "$environment"
for package in orchestrator strategies dashboards; do
    mount -t tmpfs -o ro tmpfs "$checkout/$package"
done

until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip addr add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
exec "$(command -v sshd)" -D -e -f "$world/keys/sshd_config" -o "ListenAddress=$address"
