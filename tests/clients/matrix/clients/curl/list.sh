#!/usr/bin/env bash
# list.sh [sts | --version]: lists buckets, or calls GetCallerIdentity, with curl and the keys of the environment.
set -uo pipefail
if [ "${1:-}" = --version ]; then
  curl --version | awk 'NR == 1 { print $1, $2 }'
  exit
fi
if [ -z "${AWS_ACCESS_KEY_ID:-}" ]; then
  echo "error: there are no keys in the environment, and curl looks for none anywhere"
  exit 1
fi

# The keys are passed on standard input: other users can read arguments in the list of processes.
keys() {
  printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
  [ -z "${AWS_SESSION_TOKEN:-}" ] || printf 'header = "x-amz-security-token: %s"\n' "$AWS_SESSION_TOKEN"
}
answer=listed element=Name request=(--aws-sigv4 "aws:amz:$AWS_REGION:s3" "$AWS_ENDPOINT_URL_S3/")
if [ "${1:-}" = sts ]; then
  answer=called element=Arn request=(--aws-sigv4 "aws:amz:$AWS_REGION:sts" "$AWS_ENDPOINT_URL_STS/")
  request+=(--data "Action=GetCallerIdentity&Version=2011-06-15")
fi
if said=$(keys | curl --config - --silent --show-error --fail-with-body "${request[@]}" 2>&1); then
  echo "$answer: $(grep -o "<$element>[^<]*" <<<"$said" | cut -d '>' -f 2 | tr '\n' ' ')"
else
  echo "error: $(tr '\n' ' ' <<<"$said")" | cut -c 1-2000
  exit 1
fi
