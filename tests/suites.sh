#!/usr/bin/env bash
# Runs every suite, and goes on after one that fails; ends with a table, non-zero if one failed.
#
#   tests/suites.sh [SUITE…]    all of them, or some
#
# A suite is a make target and the commands it needs. If one of these is missing the suite is skipped, loudly; with
# CI=true that is a failure, because everything has to run there. Suites of different lanes run at the same time, so the
# output of each is kept, and printed whole when it ends.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

python=${PYTHON:-python3}
order=()
declare -A needs

define() { # make target, then the commands it needs
  order+=("$1")
  needs[$1]=${*:2}
}

define compile cargo
define venv "$python" python3-venv
define fmt cargo rustfmt
define clippy cargo cargo-clippy
define unit cargo
define simulation cargo
define doc cargo rustdoc
define deny cargo "$python" python3-venv
define workflows go
define clients cargo "$python" python3-venv
# Of its six clients it skips those that cannot run here; with CI=true each of them is a failure.
define six-brief cargo "$python" python3-venv
define release cargo
define bench-instructions cargo valgrind
define image cargo root "$python" python3-venv podman buildah runc catatonit jq unshare ip iptables socat curl openssl
define systemd cargo root systemd-nspawn systemd-analyze dbus-daemon dpkg-deb "$python" curl
define bench-works cargo
define demo cargo "$python" python3-venv
define restarts cargo "$python" python3-venv curl

# Two cores and three lanes: clients mostly wait, and builds give way to them. The release comes first, since two suites wait
# for it; clippy fills what is left.
builds() { lane fmt release bench-instructions bench-works clippy doc deny workflows; }
program() { lane unit clients demo && after release && lane image systemd; }
matrix() { lane six-brief simulation; }
# Its eight clients ask without a pause, and no request may fail: a test of the program, not of a busy machine.
alone() { lane restarts; }
# Their processes have the lowest priority.
niced=' clippy release bench-instructions simulation bench-works doc '

wanted=("$@")
for name in "${wanted[@]}"; do
  [ -n "${needs[$name]:-}" ] || { echo "suites.sh: there is no suite $name; there are: ${order[*]}" >&2; exit 2; }
done
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# Lanes are process groups of their own: an interrupt has to reach them, and must not be ignored in them.
set -m
# shellcheck disable=SC2154 # the trap assigns it
trap 'trap - INT TERM; for group in $(jobs -p); do kill -TERM -- "-$group" 2>/dev/null; done; exit 130' INT TERM

missing_of() {
  local need
  for need in "$@"; do
    case $need in
      root) [ "$(id -u)" = 0 ] ;;
      python3-venv) "$python" -c 'import venv, ensurepip' 2>/dev/null ;;
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

record() { # suite, result, seconds, CPU seconds, counts
  printf '%-11s %-8s %5ss %5ss  %s\n' "$@" >"$logs/$1.writing"
  mv "$logs/$1.writing" "$logs/$1.result"
}

say() { # standard input, whole
  { flock 9; cat; } 9>"$logs/lock"
}

is_wanted() { # always what the others are made of
  ((${#wanted[@]} == 0)) || [[ " compile venv ${wanted[*]} " == *" $1 "* ]]
}

suite() { # make target
  local name=$1 start=$SECONDS missing result=passed cpu TIMEFORMAT='%U %S'
  is_wanted "$name" || return 0
  # shellcheck disable=SC2086 # one word per command
  missing=$(missing_of ${needs[$name]} | paste -sd ' ')
  if [ -n "$missing" ]; then
    echo "!!! the suite '$name' does NOT run: missing here: $missing (make setup installs what it can)" | say >&2
    if [ "${CI:-}" = true ]; then result=FAILED; else result=skipped; fi
    record "$name" "$result" 0 0 "missing: $missing"
    return
  fi
  echo "... $name" | say
  local nice=()
  [[ $niced != *" $name "* ]] || nice=(nice -n 19)
  { time "${nice[@]}" make "$name" >"$logs/$name" 2>&1 </dev/null; } 2>"$logs/$name.time" || result=FAILED
  cpu=$(awk '{ printf "%.0f", $1 + $2 }' "$logs/$name.time")
  { echo "=== $name: $result"; cat "$logs/$name"; } | say
  record "$name" "$result" $((SECONDS - start)) "$cpu" "$(counts "$logs/$name")"
}

lane() { # suites, one after another
  local name
  for name in "$@"; do suite "$name"; done
}

after() { # waits for a suite of another lane
  is_wanted "$1" || return 0
  until [ -e "$logs/$1.result" ]; do sleep 0.5; done
}

suite compile &
suite venv &
wait
# A copy: cargo replaces the program at each call, also while a client of another lane starts it.
target=${CARGO_TARGET_DIR:-target}
if [ -z "${CREDENZA_BIN:-}" ] && cp "$target/debug/credenza" "$logs/program"; then export CREDENZA_BIN=$logs/program; fi
if [ -z "${SSO_FAKES:-}" ] && cp "$target/debug/sso-fakes" "$logs/sso-fakes"; then export SSO_FAKES=$logs/sso-fakes; fi
builds &
program &
matrix &
wait
alone

failed=0 skipped=0 count=0
echo
printf '%-11s %-8s %6s %6s\n' suite result time cpu
for name in "${order[@]}"; do
  is_wanted "$name" || continue
  count=$((count + 1))
  line=$(cat "$logs/$name.result" 2>/dev/null) || line=$(printf '%-11s %-8s' "$name" FAILED)
  echo "$line"
  [[ $line != *" FAILED "* ]] || failed=1
  [[ $line != *" skipped "* ]] || skipped=$((skipped + 1))
done
((skipped == 0)) || echo "!!! $skipped of $count suites did not run: make setup installs what is missing" >&2
echo "$SECONDS s, $( ((failed)) && echo FAILED || echo passed)"
exit "$failed"
