#!/usr/bin/env bash
# Runs every suite, whatever became of the ones before it, and ends with a table. Non-zero when one failed.
#
# A suite is a make target and the commands it needs. Where one of them is missing the suite is skipped, loudly;
# with CI=true that is a failure, because there everything has to run.
set -uo pipefail
cd "$(dirname "$0")/.."

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
table=() failed=0 skipped=0

record() { # suite, result, seconds, what was counted
  table+=("$(printf '%-11s %-8s %5ss  %s' "$@")")
  [ "$2" != FAILED ] || failed=1
  [ "$2" != skipped ] || skipped=$((skipped + 1))
}

missing_of() {
  local need
  for need in "$@"; do
    case $need in
      root) [ "$(id -u)" = 0 ] ;;
      python3-venv) "${PYTHON:-python3}" -c 'import venv, ensurepip' 2>/dev/null ;;
      *) command -v "$need" >/dev/null ;;
    esac || echo "$need"
  done
}

counts() { # the totals that cargo test, pytest and our own suites print
  awk '
    /^test result:/ { passed += $4; failed += $6; ignored += $8; seen = 1; next }
    /[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s/ { gsub(/ *=+ */, ""); pytest = $0 }
    /^[0-9]+ passed, [0-9]+ failed$/ { own = $0 }
    /^!!! did not run: / { sub(/^!!! did not run: /, ""); unrun = unrun "; NOT RUN: " $0 }
    /restarts in .* no request failed/ { restarts = $0 }
    /^(advisories|bans|licenses|sources) .*ok/ { deny = deny (deny == "" ? "" : ", ") $0 }
    /^!!! advisories/ { unchecked = "; ADVISORIES NOT CHECKED" }
    END {
      if (pytest != "") print pytest
      else if (own != "") print own unrun
      else if (deny != "") print deny unchecked
      else if (restarts != "") print restarts
      else if (seen) printf "%d passed, %d failed, %d ignored\n", passed, failed, ignored
    }' "$1"
}

suite() { # make target, then the commands it needs
  local name=$1 start=$SECONDS missing result=passed
  shift
  missing=$(missing_of "$@" | paste -sd ' ')
  if [ -n "$missing" ]; then
    echo "!!! the suite '$name' does NOT run: missing here: $missing" >&2
    if [ "${CI:-}" = true ]; then result=FAILED; else result=skipped; fi
    record "$name" "$result" 0 "missing: $missing"
    return
  fi
  echo "=== $name"
  make "$name" 2>&1 </dev/null | tee "$logs/$name" || result=FAILED
  record "$name" "$result" $((SECONDS - start)) "$(counts "$logs/$name")"
}

suite fmt cargo rustfmt
suite clippy cargo cargo-clippy
suite unit cargo
suite doc cargo rustdoc
suite deny cargo "${PYTHON:-python3}" python3-venv
suite workflows go
suite clients cargo "${PYTHON:-python3}" python3-venv
# Which of the six cannot run here, it says itself; with CI=true each of them is a failure.
suite six cargo "${PYTHON:-python3}" python3-venv
suite image cargo root "${PYTHON:-python3}" python3-venv podman buildah runc catatonit jq unshare ip
suite restarts cargo "${PYTHON:-python3}" python3-venv curl
suite systemd cargo root systemd-nspawn systemd-analyze dbus-daemon dpkg-deb "${PYTHON:-python3}" curl
suite bench-works cargo
suite demo cargo "${PYTHON:-python3}" python3-venv

echo
printf '%-11s %-8s %6s\n' suite result time
printf '%s\n' "${table[@]}"
((skipped == 0)) || echo "!!! $skipped of ${#table[@]} suites did not run: make setup installs what is missing" >&2
echo "$SECONDS s, $( ((failed)) && echo FAILED || echo passed)"
exit "$failed"
