#!/usr/bin/env bash
# list.sh AWS [sts | get | put | --version]: lists buckets, calls GetCallerIdentity, or gets or puts an object, with this AWS
# CLI of version 1 or 2.
set -u
aws=$1
export AWS_PAGER=
if [ "${2:-}" = --version ]; then
  "$aws" --version
  exit
fi
answer=listed call=(s3api list-buckets --query 'Buckets[].Name')
case ${2:-} in
  sts) answer=called call=(sts get-caller-identity --query Arn) ;;
  get) answer=got call=(s3 cp "s3://$MATRIX_BUCKET/was-here" -) ;;
  put) answer=put call=(s3api put-object --bucket "$MATRIX_BUCKET" --key put --query ETag) ;;
esac
if said=$("$aws" "${call[@]}" --output text 2>&1); then
  echo "$answer: $said"
else
  echo "error: $(tr '\n' ' ' <<<"$said")" | cut -c 1-2000
  exit 1
fi
