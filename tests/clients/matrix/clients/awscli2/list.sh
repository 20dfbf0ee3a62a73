#!/usr/bin/env bash
# list.sh AWS [--version]: lists buckets with the AWS CLI, of either version, at this path.
set -u
aws=$1
export AWS_PAGER=
if [ "${2:-}" = --version ]; then
  "$aws" --version
  exit
fi
if said=$("$aws" s3api list-buckets --query 'Buckets[].Name' --output text 2>&1); then
  echo "listed: $said"
else
  echo "error: $(tr '\n' ' ' <<<"$said")" | cut -c 1-2000
  exit 1
fi
