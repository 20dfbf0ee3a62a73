#!/usr/bin/env bash
# Installs what `make test` needs and this machine lacks: packages of Debian 13 or newer, and two components of Rust.
# Packages need root or sudo. What is missing, and what it is for, is listed first.
#
#   tests/setup.sh            lists and installs
#   tests/setup.sh --all      the same, with what only matrix, kubernetes and fuzz need
#   tests/setup.sh --check    lists, and fails if something is missing
set -euo pipefail

# What has to be here: a command, a command of a minimum version, a file that is not empty, or modules of Python.
# | packages of Debian | used by
table='
cc                                  | gcc libc6-dev        | cargo, to link programs
make                                | make                 | every suite
python3>=3.10                       | python3              | clients, six, image, restarts, systemd, demo
python3:venv,ensurepip              | python3-venv         | clients, six, image, restarts, demo, deny
/etc/ssl/certs/ca-certificates.crt  | ca-certificates      | downloads, and the image
curl                                | curl                 | restarts, systemd, six and image, as a client
fish                                | fish                 | unit: real shells read what is printed for them
zsh                                 | zsh                  | unit: the same
tcsh                                | tcsh                 | unit: the same
mount                               | mount                | unit: full and hanging file systems
ip                                  | iproute2             | six and image: networks of their own
/bin/kill                           | procps               | systemd: the unit reloads with it
systemd-analyze                     | systemd              | systemd
systemd-nspawn                      | systemd-container    | systemd: a booted host
dbus-daemon                         | dbus                 | systemd
podman                              | podman               | image
buildah                             | buildah              | image
runc                                | runc                 | image
catatonit                           | catatonit            | image: the first process of a Pod
jq                                  | jq                   | image
openssl                             | openssl              | image, kubernetes
iptables                            | iptables             | image: a firewall between containers
socat                               | socat                | image: a relay to a Unix socket
go>=1.24                            | golang               | six: the AWS SDK for Go; workflows
javac                               | default-jdk-headless | six: the AWS SDK for Java
mvn                                 | maven                | six: the AWS SDK for Java
node>=20                            | nodejs               | six: the AWS SDK for JavaScript
npm                                 | npm                  | six: the AWS SDK for JavaScript
valgrind                            | valgrind             | bench-instructions
'
# What `make test` can do without.
more='
c++                                 | g++                  | fuzz
etcd                                | etcd-server          | kubernetes
ruby                                | ruby                 | matrix: the AWS SDK for Ruby
'
# Components of rustup, and the command of each.
components='rustfmt:rustfmt clippy:cargo-clippy'

check_only=''
for argument in "$@"; do
  case $argument in
    --all) table+=$more ;;
    --check) check_only=1 ;;
    *) echo "setup.sh: unknown argument $argument; there are --all and --check" >&2; exit 2 ;;
  esac
done

is_here() { # the first column
  local version minimum=${1#*>=}
  case $1 in
    /*) [ -s "$1" ] ;;
    python3:*) python3 -c "import ${1#*:}" 2>/dev/null ;;
    *'>='*)
      command -v "${1%%>=*}" >/dev/null || return
      # Go has a command where the others have a flag.
      version=$({ "${1%%>=*}" --version || "${1%%>=*}" version; } 2>/dev/null | grep -oE '[0-9]+\.[0-9]+' | head -1)
      [ "$(printf '%s\n' "$minimum" "$version" | sort -V | head -1)" = "$minimum" ]
      ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing() { # the lines of the table that are not here
  local check packages use
  while IFS='|' read -r check packages use; do
    check=${check//[[:space:]]/}
    [ -z "$check" ] || is_here "$check" || printf '%s|%s|%s\n' "$check" "$packages" "$use"
  done <<<"$table"
}

missing_components() {
  local pair
  for pair in $components; do
    command -v "${pair#*:}" >/dev/null && "${pair#*:}" --version >/dev/null 2>&1 || echo "${pair%:*}"
  done
}

list() {
  local check packages use component
  while IFS='|' read -r check packages use; do
    [ -z "$check" ] || printf '  %-34s %-22s %s\n' "$check" "$(xargs <<<"$packages")" "$(xargs <<<"$use")"
  done <<<"$(missing)"
  for component in $(missing_components); do
    printf '  %-34s %-22s %s\n' "$component" 'a component of Rust' 'fmt, clippy'
  done
}

listed=$(list)
if [ -z "$listed" ]; then
  echo "setup: everything that make test needs is here"
  exit
fi
printf 'setup: missing here (what, Debian package, used by):\n%s\n' "$listed"
[ -z "$check_only" ] || exit 1

packages=$(missing | cut -d'|' -f2 | xargs)
if [ -n "$packages" ]; then
  # shellcheck disable=SC2206 # one word per package
  install=(apt-get install -y --no-install-recommends $packages)
  if ! command -v apt-get >/dev/null; then
    echo "setup: cannot install packages: there is no apt-get. Install what is listed above by this system's own means." >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "setup: cannot install packages: neither root nor sudo. Run as root: ${install[*]}" >&2
      exit 1
    fi
    # A build machine cannot type a password.
    as_root=(sudo)
    [ "${CI:-}" != true ] || as_root+=(-n)
  fi
  # sudo drops exported variables.
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" -qq
fi
for component in $(missing_components); do
  if ! command -v rustup >/dev/null; then
    echo "setup: cannot add $component: there is no rustup. Install it the way this Rust was installed." >&2
    exit 1
  fi
  rustup component add "$component"
done

hash -r
listed=$(list)
if [ -n "$listed" ]; then
  printf 'setup: still missing, or too old: this distribution has nothing newer. Install by hand:\n%s\n' "$listed" >&2
  exit 1
fi
echo "setup: done"
