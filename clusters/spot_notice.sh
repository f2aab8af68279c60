#!/usr/bin/env bash
# Tells Ray that this node is about to be taken back, as soon as its cloud says so; the runs on it then write a
# checkpoint every 20 seconds until it is gone. Started on every spot node by the cluster files here.
#
#   spot_notice.sh aws|gcp HEAD_IP:PORT
set -euo pipefail
cloud=$1
head_address=$2
metadata=http://169.254.169.254

noticed() {
    case $cloud in
    aws) # 404 until a stop or an end is announced, two minutes ahead
        local token
        token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/latest/api/token") || return 1
        curl -sf -m 5 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/latest/meta-data/spot/instance-action"
        ;;
    gcp) # FALSE, then TRUE half a minute ahead
        [ "$(curl -sf -m 5 -H 'Metadata-Flavor: Google' "$metadata/computeMetadata/v1/instance/preempted")" = TRUE ]
        ;;
    *)
        echo "unknown cloud '$cloud'; allowed: aws, gcp" >&2
        exit 2
        ;;
    esac
}

until noticed; do sleep 3; done
case $cloud in aws) left_s=110 ;; *) left_s=25 ;; esac
node=$(python -c 'import ray; ray.init("auto", log_to_driver=False); print(ray.get_runtime_context().get_node_id())' | tail -n 1)
ray drain-node --address "$head_address" --node-id "$node" --reason DRAIN_NODE_REASON_PREEMPTION \
    --reason-message "spot notice of $cloud" --deadline-remaining-seconds "$left_s"
