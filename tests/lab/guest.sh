#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two guests (b1, b2) with shared LUNs and nothing else: a lab without an
# engine.
#
#   guest.sh image                build the image and the saved state
#   guest.sh up DIR               two guests; DIR/env tells their addresses
#   guest.sh run DIR NAME CMD...  a command as root in a guest, by ssh
#   guest.sh down DIR
#
# All other commands of lab.sh work as well: residue, host NAME kill|start...
here=$(cd "$(dirname "$0")" && pwd) || exit 1
command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
  image) exec python3 "$here/blockimage.py" ;;
  up) exec sh "$here/lab.sh" up "$@" --hosts 0 --guests 2 --bare ;;
  run | down | residue | host) exec sh "$here/lab.sh" "$command" "$@" ;;
  *)
    sed -n '3,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
