#!/usr/bin/env bash
# MLflow on PostgreSQL, both on this node's loopback, with a password: start, or do nothing where it runs.
# Call it on the node that drives sweeps. Only the driver writes to MLflow, so no other node has to reach it.
#
#   mlflow_server.sh [FOLDER]         default: ~/hsfm/server; it must lie on a disk that outlives the container
#   mlflow_server.sh FOLDER stop
#
# Needs: PostgreSQL's programs (Debian: apt-get install postgresql; conda: postgresql), pip install 'hsfm-sweep[server]'.
# The first start draws the password of the user `admin` into FOLDER/password, which only the calling user may read. It
# goes into ~/.mlflow/credentials as well, where MLflow's clients, a sweep among them, look for it: no cluster file, no
# command and no environment holds it. PostgreSQL listens on a socket in a folder that nobody else may enter.
#
#   HSFM_MLFLOW_PORT=5000                          its port
#   HSFM_MLFLOW_HOSTS='127.0.0.1:*,localhost:*'    the names by which it may be called; others get 403 Invalid Host header
#
# To look at it from a laptop: ssh -L 5000:127.0.0.1:5000 HEAD, then http://127.0.0.1:5000.
set -euo pipefail
umask 077
folder=$(readlink -m "${1:-$HOME/hsfm/server}")
port=${HSFM_MLFLOW_PORT:-5000}
hosts=${HSFM_MLFLOW_HOSTS:-127.0.0.1:*,localhost:*}
sockets=${XDG_RUNTIME_DIR:-/tmp}/hsfm-sockets-$(id -u)    # a path of at most 107 bytes, on a local disk
fail() { echo "$1" >&2; exit 1; }
answers() { curl -sf -m 5 -o /dev/null "http://127.0.0.1:$port/health"; }

# PostgreSQL refuses to run as root; Debian's package has made a user for it, who must come to its folder.
owner=$(id -un)
[ "$(id -u)" != 0 ] || owner=postgres
as_owner() { if [ "$(id -un)" = "$owner" ]; then "$@"; else runuser -u "$owner" -- "$@"; fi; }
id "$owner" >/dev/null 2>&1 || fail "as root this needs a user postgres, under which PostgreSQL runs; call it as another user"
found=$(command -v pg_ctl || find /usr/lib/postgresql -name pg_ctl 2>/dev/null | sort -V | tail -n 1)
bin=$(dirname "$(readlink -f "${found:-none}")")
[ -x "$bin/pg_ctl" ] || fail "PostgreSQL is not installed (pg_ctl not found)"
# from a folder that its user may enter, or it complains
postgres() { local program=$1; shift; (cd / && as_owner "$bin/$program" "$@"); }

if [ "${2:-}" = stop ]; then
    pid=$(cat "$folder/mlflow.pid" 2>/dev/null || true)
    if grep -qs mlflow "/proc/${pid:-none}/cmdline"; then     # else the number is somebody else's by now
        kill -- "-$pid"
        for _ in $(seq 30); do kill -0 -- "-$pid" 2>/dev/null || break; sleep 0.5; done
    fi
    rm -f "$folder/mlflow.pid"
    postgres pg_ctl -D "$folder/postgres" -m fast stop
    exit 0
fi

mkdir -p "$folder/artifacts" "$sockets"
if [ "$owner" != "$(id -un)" ]; then
    chmod 711 "$folder"
    as_owner test -x "$folder" || fail "user $owner may not enter $folder; name another folder, such as /var/lib/hsfm"
    [ -d "$folder/postgres" ] || install -d -m 700 -o "$owner" "$folder/postgres"
    [ -O "$sockets" ] && chown "$owner" "$sockets"
fi
[ "$(stat -c %U "$sockets")" = "$owner" ] || fail "$sockets belongs to somebody else; set XDG_RUNTIME_DIR to a folder of your own"
as_owner test -f "$folder/postgres/PG_VERSION" || postgres initdb -D "$folder/postgres" -U hsfm -A trust -E UTF8 >/dev/null
# its log lies inside, where its user may write; `</dev/null` and `>/dev/null`: it must not hold the caller's terminal
postgres pg_ctl -D "$folder/postgres" status >/dev/null ||
    postgres pg_ctl -D "$folder/postgres" -w -l "$folder/postgres/log" \
        -o "-c listen_addresses='' -k $sockets ${HSFM_POSTGRES_OPTIONS:-}" start </dev/null >/dev/null ||
    fail "PostgreSQL did not start; see $folder/postgres/log"
for name in mlflow mlflow_users; do
    postgres psql -h "$sockets" -U hsfm -d postgres -tAc "select 1 from pg_database where datname = '$name'" | grep -q 1 ||
        postgres createdb -h "$sockets" -U hsfm "$name"
done

secret() { [ -s "$1" ] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1"; cat "$1"; }
password=$(secret "$folder/password")
credentials="[mlflow]
mlflow_tracking_username = admin
mlflow_tracking_password = $password"
mkdir -p ~/.mlflow
if [ ! -e ~/.mlflow/credentials ]; then
    echo "$credentials" >~/.mlflow/credentials
elif [ "$(cat ~/.mlflow/credentials)" != "$credentials" ]; then
    echo "~/.mlflow/credentials is of another server and stays; the password of this one is in $folder/password" >&2
fi

if answers; then
    echo "MLflow answers already on 127.0.0.1:$port"
    exit 0
fi
uri="postgresql+psycopg://hsfm@"
# A password is looked up once a minute, not in each request: that costs a tenth of a second each time.
cat >"$folder/users.ini" <<END
[mlflow]
database_uri = $uri/mlflow_users?host=$sockets
admin_username = admin
admin_password = $password
default_permission = READ
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
END
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret "$folder/secret_key")
export MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH="$folder/users.ini" MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=50 MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=50
cd "$folder"
nohup setsid mlflow server --host 127.0.0.1 --port "$port" --workers "${HSFM_MLFLOW_WORKERS:-2}" --app-name basic-auth \
    --allowed-hosts "$hosts" --backend-store-uri "$uri/mlflow?host=$sockets" --serve-artifacts \
    --artifacts-destination "$folder/artifacts" >>"$folder/mlflow.log" 2>&1 </dev/null &
echo $! >"$folder/mlflow.pid"
for _ in $(seq 300); do
    answers && { echo "MLflow answers on 127.0.0.1:$port; user admin, password in $folder/password"; exit 0; }
    kill -0 $! 2>/dev/null || break
    sleep 1
done
fail "MLflow did not start; see $folder/mlflow.log"
