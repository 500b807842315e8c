#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A long run: long.sh NAME [--count N] [--seed S] [--from N]
#
# NAME is a script of tests/long:
#   block    SIGKILL on block domains, the whole tables (count and seed unused)
#   chains   random chains against qemu-img and libqcow
#   faults   random faults at random moments
#   fuzz     every fuzz target
#   kill     SIGKILL of controller or helper in every phase and at any moment
#   mutate   damaged images under the sanitizers
#   wire     streams that break, hang or lie at any byte
#   year     nights of VMs that write, with users who change them by day
# Count means cases, seconds a target (fuzz), kills or nights.  Exit 0 or 1;
# the last line is "NAME: N ok, N failed, seed S".
set -u
. "$(dirname "$0")/setup.sh"
usage ()
{
  echo "usage: long.sh NAME [--count N] [--seed S] [--from N]; NAME is one of:" \
    "$(cd "$TOP/tests/long" && ls -- *.sh | sed 's/\.sh$//' | tr '\n' ' ')" >&2
  exit 2
}
[ $# -gt 0 ] || usage
name=$1
shift
[ -f "$TOP/tests/long/$name.sh" ] || usage
count=
seed=
from=0
while [ $# -gt 1 ]; do
  case $1 in
    --count) count=$2 ;;
    --seed) seed=$2 ;;
    --from) from=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[ $# -eq 0 ] || usage
[ -n "$seed" ] || seed=$(date +%s)
setup_packages || exit 1
BUILD=$TOP/build-check
export BUILD
setup_build build-check --enable-werror --enable-test-hooks || exit 1
exec sh "$TOP/tests/long/$name.sh" "$count" "$seed" "$from"
