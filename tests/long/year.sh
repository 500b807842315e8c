#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Nights of five VMs: year.sh COUNT SEED FROM [SET VM...].  year.py tells what
# happens by day and what must hold after each night.
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build-check}
export BUILD
count=${1:-30} seed=${2:-1} from=${3:-0}
[ $# -gt 3 ] && shift 3 || set --
exec /usr/bin/python3 "${0%.sh}.py" "$count" "$seed" "$from" "$@"
