#!/usr/bin/env bash
# install.sh CACHE: installs the AWS CLI of the benchmark.
set -euo pipefail
cd "$(dirname "$0")"
cache=$1 made_by=../../../../../benches
made_of=$(cat install.sh "$made_by"/aws-cli.{sh,txt} | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0
"$made_by/aws-cli.sh" python3 "$cache/aws-cli"
echo "$made_of" >"$cache/stamp"
