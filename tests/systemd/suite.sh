#!/usr/bin/env bash
# suite.sh BINARY [STATIC]: builds the Debian packages of BINARY and the tarball of STATIC, as `make dist` does; checks.py
# installs and tests them on a booted host.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$1 static=${2:-$1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/../../packaging/dist.sh" deb "$binary" "$work"
"$here/../../packaging/dist.sh" tarball "$static" "$work"
cp "$here/checks.py" "$here/host.py" "$here/../clients/imds.py" "$here/../clients/serving.py" "$work/"
"$here/boot.sh" "$work" python3 -B checks.py
