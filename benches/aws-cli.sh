#!/usr/bin/env bash
# aws-cli.sh PYTHON FOLDER: puts version 2 of the AWS CLI (70 MB from PyPI, 250 MB unpacked) into FOLDER, to be run as
# FOLDER/aws/aws. Version 1 has no `configure export-credentials`.
set -euo pipefail
python=$1 folder=$2
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

"$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
  --dest "$parts" -r "$(dirname "$0")/aws-cli.txt"
"$python" -m zipfile -e "$parts"/*.whl "$parts/wheel"
tar -xzf "$parts"/wheel/aws_cdk/asset_awscli_v2/_jsii/*.tgz -C "$parts" package/lib/layer.zip
"$python" -m zipfile -e "$parts/package/lib/layer.zip" "$parts/layer"
chmod +x "$parts"/layer/awscli/v2/2.*/dist/aws
rm -rf "$folder"
mkdir -p "$folder"
mv "$parts"/layer/awscli/v2/2.*/dist "$folder/aws"
