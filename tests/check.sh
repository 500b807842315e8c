#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All tests, or the groups that are named: unit e2e builds sanitize fuzz.
#
# Does its own set-up (packages, autoreconf, configure, make).  Each program
# of a group is one case.  Exit 77 of a case is a skip: an expected one stands
# in tests/SKIPS with its reason, any other counts as a failure.  The last
# line is "N passed, N failed, N skipped"; the exit status is 0 only with
# 0 failed and at least 1 passed.
#
#   FUZZ_SECONDS   seconds for each fuzz target (60)
#   ONLY           shell pattern of case names: run only these

set -u
. "$(dirname "$0")/setup.sh"
cd "$TOP" || exit 2

passed=0
failed=0
skipped=0
results=$TOP/build-results
mkdir -p "$results"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

note ()
{
  case $1 in
    ok) passed=$((passed + 1)) ;;
    FAIL) failed=$((failed + 1)) ;;
    skip) skipped=$((skipped + 1)) ;;
  esac
  printf '%-4s %s%s\n' "$1" "$2" "${3:+  ($3)}"
}

wanted ()
{
  # shellcheck disable=SC2254
  case $1 in
    ${ONLY:-*}) return 0 ;;
  esac
  return 1
}

# Run one case: case_run NAME COMMAND...
case_run ()
{
  name=$1
  shift
  wanted "$name" || return 0
  log=$results/$(echo "$name" | tr '/ ' '__').log
  begin=$(date +%s)
  timeout -k 30 "${CASE_SECONDS:-900}" "$@" >"$log" 2>&1 </dev/null
  status=$?
  took="$(($(date +%s) - begin)) s"
  case $status in
    0) note ok "$name" "$took" ;;
    77)
      reason=$(tail -n 1 "$log")
      if grep -q "^$name[[:space:]]" tests/SKIPS 2>/dev/null; then
        note skip "$name" "$reason"
      else
        note FAIL "$name" "a skip that tests/SKIPS does not expect: $reason"
      fi
      ;;
    *)
      note FAIL "$name" "exit $status after $took, log build-results/${log##*/}"
      tail -n "${TAIL:-40}" "$log" | sed 's/^/    | /'
      ;;
  esac
}

build ()
{
  if ! setup_build "$@"; then
    note FAIL "build/$1" "does not build"
    return 1
  fi
}

main_build ()
{
  build build-check --enable-werror --enable-test-hooks
}

# The unit programs of build directory $1 as cases named $2/NAME.
unit_cases ()
{
  make -s -C "$1" -j2 check TESTS= >"$results/unit-build.log" 2>&1 || {
    tail -n 40 "$results/unit-build.log"
    note FAIL "$2" "the unit tests do not build"
    return
  }
  for program in "$1"/tests/unit/test_*; do
    case $program in
      *.o | *.log | *.trs) continue ;;
    esac
    [ -x "$program" ] && case_run "$2/${program##*/test_}" "$program"
  done
}

# The e2e scripts with the programs of build directory $1.
e2e_cases ()
{
  BUILD=$TOP/$1
  export BUILD
  for script in tests/e2e/*.sh; do
    case $script in
      tests/e2e/lib.sh) continue ;;
    esac
    stem=${script##*/}
    case_run "$2/${stem%.sh}" sh "$script"
  done
}

group_unit ()
{
  main_build && unit_cases build-check unit
}

group_e2e ()
{
  main_build && e2e_cases build-check e2e
}

group_builds ()
{
  build build-clang CC=clang --enable-werror && unit_cases build-clang clang
  for script in tests/builds/*.sh; do
    stem=${script##*/}
    BUILD=$TOP/build-check
    export BUILD
    case_run "builds/${stem%.sh}" sh "$script"
  done
}

group_sanitize ()
{
  ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
  UBSAN_OPTIONS=print_stacktrace=1
  export ASAN_OPTIONS UBSAN_OPTIONS
  build build-asan --enable-werror --enable-test-hooks --enable-sanitizers \
    && unit_cases build-asan asan-unit && e2e_cases build-asan asan-e2e
}

group_fuzz ()
{
  build build-fuzz CC=clang CFLAGS='-g -O1' --enable-fuzzers || return 0
  for program in build-fuzz/tests/fuzz/fuzz_*; do
    case $program in
      *.o) continue ;;
    esac
    [ -x "$program" ] || continue
    case_run "fuzz/${program##*/fuzz_}" sh tests/fuzz/run.sh "$program" \
      "${FUZZ_SECONDS:-60}"
  done
}

setup_packages || exit 2
[ $# -gt 0 ] || set -- unit e2e builds sanitize fuzz
for group; do
  case $group in
    unit | e2e | builds | sanitize | fuzz) "group_$group" ;;
    *)
      echo "check.sh: no group $group (unit e2e builds sanitize fuzz)" >&2
      exit 2
      ;;
  esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
