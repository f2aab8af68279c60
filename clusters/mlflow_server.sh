#!/usr/bin/env bash
# MLflow on PostgreSQL, both on this node's loopback, run by the calling user: start, or do nothing where it runs.
# Call it on the node that drives sweeps. Only the driver writes to MLflow, so no other node has to reach it.
#
#   mlflow_server.sh [FOLDER]         default: ~/hsfm/server; it must lie on a disk that outlives the container
#
# Needs: PostgreSQL's programs (Debian: apt-get install postgresql; conda: postgresql), pip install psycopg2-binary.
# PostgreSQL listens on a socket in a folder that only this user may enter, so there is no password to keep.
# To look at it from a laptop: ssh -L 5000:127.0.0.1:5000 HEAD, then http://127.0.0.1:5000.
set -euo pipefail
umask 077
folder=${1:-$HOME/hsfm/server}
port=${HSFM_MLFLOW_PORT:-5000}
sockets=${XDG_RUNTIME_DIR:-/tmp}/hsfm-sockets-$(id -u)    # a path of at most 107 bytes, on a local disk
mkdir -p "$folder/artifacts" "$sockets"
[ -O "$sockets" ] || { echo "$sockets belongs to somebody else; set XDG_RUNTIME_DIR to a folder of your own" >&2; exit 1; }

found=$(command -v pg_ctl || find /usr/lib/postgresql -name pg_ctl 2>/dev/null | sort -V | tail -n 1)
bin=$(dirname "$(readlink -f "${found:-none}")")
[ -x "$bin/pg_ctl" ] || { echo "PostgreSQL is not installed (pg_ctl not found)" >&2; exit 1; }
[ -f "$folder/postgres/PG_VERSION" ] || "$bin/initdb" -D "$folder/postgres" -U hsfm -A trust -E UTF8 >/dev/null
"$bin/pg_ctl" -D "$folder/postgres" status >/dev/null ||
    "$bin/pg_ctl" -D "$folder/postgres" -w -l "$folder/postgres.log" -o "-c listen_addresses='' -k $sockets" start
"$bin/psql" -h "$sockets" -U hsfm -d postgres -tAc "select 1 from pg_database where datname = 'mlflow'" | grep -q 1 ||
    "$bin/createdb" -h "$sockets" -U hsfm mlflow

if curl -sf -m 5 -o /dev/null "http://127.0.0.1:$port/health"; then
    echo "MLflow answers already on 127.0.0.1:$port"
    exit 0
fi
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=50 MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=50
nohup setsid mlflow server --host 127.0.0.1 --port "$port" --workers 2 \
    --backend-store-uri "postgresql+psycopg2://hsfm@/mlflow?host=$sockets" \
    --artifacts-destination "$folder/artifacts" >>"$folder/mlflow.log" 2>&1 </dev/null &
for _ in $(seq 120); do
    curl -sf -m 5 -o /dev/null "http://127.0.0.1:$port/health" && { echo "MLflow answers on 127.0.0.1:$port"; exit 0; }
    sleep 1
done
echo "MLflow did not start; see $folder/mlflow.log" >&2
exit 1
