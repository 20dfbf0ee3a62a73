#!/usr/bin/env bash
# suite.sh BINARY [STATIC]: packs the program as `make dist` does, the Debian package of the first and the tarball of the
# second, and has checks.py install and try them on a booted host.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$1 static=${2:-$1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/../../packaging/dist.sh" deb "$binary" "$work"
"$here/../../packaging/dist.sh" tarball "$static" "$work"
cp "$here/checks.py" "$here/host.py" "$here/../clients/imds.py" "$here/../clients/serving.py" "$work/"
"$here/boot.sh" "$work" python3 -B checks.py
