#!/usr/bin/env bash
# list.sh AWS [sts | --version]: lists buckets, or calls GetCallerIdentity, with this AWS CLI of version 1 or 2.
set -u
aws=$1
export AWS_PAGER=
if [ "${2:-}" = --version ]; then
  "$aws" --version
  exit
fi
answer=listed call=(s3api list-buckets --query 'Buckets[].Name')
[ "${2:-}" != sts ] || answer=called call=(sts get-caller-identity --query Arn)
if said=$("$aws" "${call[@]}" --output text 2>&1); then
  echo "$answer: $said"
else
  echo "error: $(tr '\n' ' ' <<<"$said")" | cut -c 1-2000
  exit 1
fi
