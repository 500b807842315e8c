#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Random faults at random moments: faults.sh COUNT SEED FROM.  faults.py tells
# what is done and what must hold.
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build-check}
export BUILD
exec /usr/bin/python3 "$(dirname "$0")/faults.py" "${1:-40}" "${2:-1}" "${3:-0}"
