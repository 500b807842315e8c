#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All tests but those of block domains, or the groups that are named: unit e2e
# block blockmore builds sanitize fuzz.  block takes 12 minutes; blockmore, which
# is what else there is on block domains, an hour.
#
# Does its own set-up (packages, autoreconf, configure, make).  Each program
# of a group is one case.  Exit 77 of a case is a skip: an expected one stands
# in tests/SKIPS with its reason, any other counts as a failure.  The last
# line is "N passed, N failed, N skipped"; the exit status is 0 only with
# 0 failed and at least 1 passed.
#
#   FUZZ_SECONDS   seconds for each fuzz target (60)
#   ONLY           shell pattern of case names: run only these
#   JOBS           cases side by side in e2e, block* and fuzz (4, 3 and 2): most
#                  of e2e wait more than they compute, guests compute

set -u
. "$(dirname "$0")/setup.sh"
cd "$TOP" || exit 2

mkdir -p "$TOP/build-results"
work=$(mktemp -d)
tally=$work/tally
: >"$tally"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

fail ()
{
  echo FAIL >>"$tally"
  printf 'FAIL %s  (%s)\n' "$1" "$2"
}

# case_add NAME COMMAND...: put a case without blanks in its words on the list.
case_add ()
{
  # shellcheck disable=SC2254
  case $1 in
    ${ONLY:-*}) echo "$@" >>"$work/list" ;;
  esac
}

# Run the list, $1 cases side by side.
case_run ()
{
  [ -f "$work/list" ] || return 0
  wanted=$(($(wc -l <"$tally") + $(wc -l <"$work/list")))
  xargs -P "$1" -L 1 sh tests/case.sh "$tally" <"$work/list" \
    || fail "check.sh" "a case could not be run"
  [ "$(wc -l <"$tally")" -ge "$wanted" ] \
    || fail "check.sh" "a case of the list has no result"
  rm "$work/list"
}

build ()
{
  setup_build "$@" && return 0
  fail "build/$1" "does not build without a warning"
  return 1
}

main_build ()
{
  build build-check --enable-werror --enable-test-hooks
}

# The unit programs of build directory $1 as cases named $2/NAME.
unit_cases ()
{
  make -s -C "$1" -j2 check TESTS= >"build-results/unit-build.log" 2>&1 || {
    tail -n 40 "build-results/unit-build.log"
    fail "$2" "the unit tests do not build"
    return
  }
  for program in "$1"/tests/unit/test_*; do
    case $program in
      *.o | *.log | *.trs) continue ;;
    esac
    [ -x "$program" ] && case_add "$2/${program##*/test_}" "$program"
  done
  case_run 2
}

# The e2e scripts with the programs of build directory $1, but those of block
# domains, and those whose names begin with lab or random when $3 is `short`.
e2e_cases ()
{
  BUILD=$TOP/$1
  export BUILD
  for script in tests/e2e/*.sh; do
    stem=${script##*/}
    stem=${stem%.sh}
    case $stem,${3:-} in
      lib,* | block_* | lab*,short | random*,short) continue ;;
    esac
    case_add "$2/$stem" sh "$script"
  done
  case_run "${JOBS:-4}"
}

group_unit ()
{
  main_build && unit_cases build-check unit
}

group_e2e ()
{
  main_build && e2e_cases build-check e2e
}

# Block storage domains on guests under emulation, whose image and state the
# first case makes and the others find.
block_cases ()
{
  main_build || return
  BUILD=$TOP/build-check
  export BUILD
  for script in tests/e2e/block_*.sh; do
    stem=${script##*/}
    stem=${stem%.sh}
    of=blockmore
    case ${stem#block_} in
      count | hazard_read | move | read | restore | sudo) of=block ;;
    esac
    [ "$of" = "$1" ] && case_add "$of/$stem" sh "$script"
  done
  case_run "${JOBS:-3}"
}

group_block ()
{
  block_cases block
}

group_blockmore ()
{
  block_cases blockmore
}

group_builds ()
{
  build build-clang CC=clang --enable-werror && unit_cases build-clang clang
  BUILD=$TOP/build-check
  export BUILD
  for script in tests/builds/*.sh; do
    stem=${script##*/}
    case_add "builds/${stem%.sh}" sh "$script"
  done
  case_run 2
}

# The tests of the lab alone have nothing of ours in them; the long runs do what
# the other cases do, over and over.
group_sanitize ()
{
  ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
  UBSAN_OPTIONS=print_stacktrace=1
  export ASAN_OPTIONS UBSAN_OPTIONS
  build build-asan --enable-werror --enable-test-hooks --enable-sanitizers \
    && unit_cases build-asan asan-unit \
    && e2e_cases build-asan asan-e2e short
}

group_fuzz ()
{
  build build-fuzz CC=clang CFLAGS='-g -O1' --enable-fuzzers || return 0
  for program in build-fuzz/tests/fuzz/fuzz_*; do
    case $program in
      *.o) continue ;;
    esac
    [ -x "$program" ] || continue
    case_add "fuzz/${program##*/fuzz_}" sh tests/fuzz/run.sh "$program" \
      "${FUZZ_SECONDS:-60}"
  done
  case_run "${JOBS:-2}"
}

setup_packages || exit 2
[ $# -gt 0 ] || set -- unit e2e builds sanitize fuzz
for group; do
  case $group in
    unit | e2e | block | blockmore | builds | sanitize | fuzz) "group_$group" ;;
    *)
      echo "check.sh: no group $group (unit e2e block blockmore builds" \
        "sanitize fuzz)" >&2
      exit 2
      ;;
  esac
done
passed=$(grep -c '^ok$' "$tally")
failed=$(grep -c '^FAIL$' "$tally")
skipped=$(grep -c '^skip$' "$tally")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
