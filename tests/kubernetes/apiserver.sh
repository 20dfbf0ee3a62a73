#!/usr/bin/env bash
# A real Kubernetes API server on loopback, with etcd behind it. Needs etcd (Debian: etcd-server), curl, openssl, and Go to
# build it: 7 minutes of CPU once, 105 MB, kept in CACHE.
#   apiserver.sh build            builds CACHE/kube-apiserver (CACHE defaults to ~/.cache/credenza-kubernetes)
#   apiserver.sh run DIR [CMD…]   starts etcd and the server with their data in DIR, waits until it is ready, runs CMD with
#                                 KUBE_API (its https address), KUBE_CA (its certificate) and KUBE_ADMIN_TOKEN, stops both
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CACHE:-$HOME/.cache/credenza-kubernetes}
version=1.36.3

build() {
  local upstream
  [ ! -x "$cache/kube-apiserver" ] || return 0
  mkdir -p "$cache/src"
  cp "$here/main.go" "$cache/src/"
  cd "$cache/src"
  upstream=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  # The server's go.mod names its modules with version 0.0.0; they are published as v0.x.
  {
    printf 'module counterpart.test/apiserver\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$version"
    sed -n "s|^[[:space:]]*\(k8s.io/[a-z-]*\) v0\.0\.0\$|\t\1 => \1 v0.${version#1.}|p" "$upstream"
    echo ')'
  } >go.mod
  go mod tidy -e 2>/dev/null
  go build -trimpath -ldflags='-s -w' -o "$cache/kube-apiserver" .
}

stop() { # the server before its store
  local pid
  for pid in "${api_pid:-}" "${etcd_pid:-}"; do
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true
  done
}

run() {
  local dir=$1 port=${KUBE_PORT:-26443} token ready=''
  local etcd=http://127.0.0.1:$((port + 1)) peer=http://127.0.0.1:$((port + 2))
  shift
  mkdir -p "$dir"
  token=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
  (umask 077 && printf '%s,admin,admin,"system:masters"\n' "$token" >"$dir/tokens.csv")
  openssl genrsa -out "$dir/sa.key" 2048 2>/dev/null
  openssl rsa -in "$dir/sa.key" -pubout -out "$dir/sa.pub" 2>/dev/null
  trap stop EXIT
  etcd --data-dir "$dir/etcd" --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >"$dir/etcd.log" 2>&1 &
  etcd_pid=$!
  "$cache/kube-apiserver" --etcd-servers="$etcd" --bind-address=127.0.0.1 --secure-port="$port" --cert-dir="$dir/pki" \
    --service-account-key-file="$dir/sa.pub" --service-account-signing-key-file="$dir/sa.key" \
    --service-account-issuer="https://127.0.0.1:$port" --token-auth-file="$dir/tokens.csv" --authorization-mode=RBAC \
    --service-cluster-ip-range=10.0.0.0/24 --api-audiences=kubernetes >"$dir/apiserver.log" 2>&1 &
  api_pid=$!
  export KUBE_API=https://127.0.0.1:$port KUBE_CA=$dir/pki/apiserver.crt KUBE_ADMIN_TOKEN=$token
  for _ in $(seq 120); do
    if curl -sf --cacert "$KUBE_CA" -H "Authorization: Bearer $token" "$KUBE_API/readyz" >/dev/null 2>&1; then
      ready=yes
      break
    fi
    kill -0 "$api_pid" "$etcd_pid" 2>/dev/null || break
    sleep 0.5
  done
  if [ -z "$ready" ]; then
    echo "apiserver.sh: the API server did not become ready:" >&2
    tail -n 5 "$dir/etcd.log" "$dir/apiserver.log" >&2
    return 1
  fi
  "$@"
}

case ${1:-} in
build) build ;;
run) shift && run "$@" ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
