#!/usr/bin/env bash
# client.sh RCLONE: rclone as a client of the broker, one call: lists the buckets of a remote without configured keys.
set -uo pipefail
rclone=$1
if [ "${2:-}" = --version ]; then
  "$rclone" version | awk '/^rclone/ { version = $2 } /go\/version/ { go = $3 } END { sub("v", "", version); sub("go", "go ", go); print "rclone " version ", " go }'
  exit
fi

# Three attempts, the SDK's default. With rclone's ten, the error about missing credentials of the metadata service takes
# nearly five minutes. RCLONE_RETRIES does not change that.
export RCLONE_LOW_LEVEL_RETRIES=3
export RCLONE_CONFIG=/dev/null
export RCLONE_CONFIG_HERE_TYPE=s3 RCLONE_CONFIG_HERE_PROVIDER=SeaweedFS RCLONE_CONFIG_HERE_ENV_AUTH=true
export RCLONE_CONFIG_HERE_ENDPOINT=$AWS_ENDPOINT_URL_S3 RCLONE_CONFIG_HERE_REGION=$AWS_REGION
if said=$("$rclone" lsd here: 2>&1); then
  awk '{ names = names " " $5 } END { print "listed:" names }' <<<"$said"
else
  said="error: ${said//$'\n'/ }"
  LC_ALL=C printf '%.2000s\n' "$said"
  exit 1
fi
