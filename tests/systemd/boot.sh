#!/usr/bin/env bash
# boot.sh FOLDER COMMAND…: boots a real systemd as PID 1 and runs COMMAND in it, as root, once the system is up.
#
# It runs over a temporary overlay of this machine's root, with a network namespace (loopback only), so that nothing
# changes here. FOLDER is copied to /suite there, and is COMMAND's working directory. Of the installed services only
# systemd's basic ones and D-Bus start. Prints the output of COMMAND and exits with its code.
# Needs root, systemd, systemd-container, dbus.
set -euo pipefail
limit=${BOOT_LIMIT:-300} # seconds; the whole suite takes about 60

if [ "${1:-}" != --inside ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # The overlay is in a mount namespace, which is removed with the process.
  unshare --mount --propagation private "$0" --inside "$work" "$@"
  exit
fi
shift
work=$1 folder=$2
shift 2

# systemd-nspawn requires a running systemd, which it detects in /run; a build machine has none.
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd "$work/layers"
mount -t tmpfs tmpfs "$work/layers"
mkdir "$work"/layers/{upper,work,root}
root=$work/layers/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layers/upper,workdir=$work/layers/work" "$root"

tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
# Build machines forbid packages to start services (policy-rc.d); here it is allowed.
rm -f "$root/usr/sbin/policy-rc.d"
mkdir -p "$root/suite"
cp -a "$folder/." "$root/suite/"
printf '%q ' "$@" >"$root/suite/command"

units=$root/etc/systemd/system
cat >"$units/suite.target" <<'UNIT'
[Unit]
Requires=basic.target suite.service
After=basic.target
Wants=dbus.socket
UNIT
cat >"$units/suite.service" <<'UNIT'
[Unit]
After=basic.target dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
WorkingDirectory=/suite
ExecStart=/bin/bash -c '. ./command; code=$?; echo $code >exit; exit $code'
StandardOutput=file:/suite/output
StandardError=inherit
UNIT

timeout "$limit" systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --console=pipe \
  --boot systemd.unit=suite.target </dev/null >"$work/console" 2>&1 || true
cat "$root/suite/output" 2>/dev/null || true
if [ ! -e "$root/suite/exit" ]; then
  echo "it did not boot, or was not done within $limit s; the console's last lines:" >&2
  tail -20 "$work/console" >&2
  exit 1
fi
exit "$(cat "$root/suite/exit")"
