#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SIGKILL in every phase and at random moments: kill.sh COUNT SEED FROM.
# kill.py tells what is killed and what must hold.
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build-check}
export BUILD
exec /usr/bin/python3 "$(dirname "$0")/kill.py" "${1:-40}" "${2:-1}" "${3:-0}"
