#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Streams that break, hang or lie at any byte: wire.sh COUNT SEED FROM.
# wire.py tells what is done and what must hold.
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build-check}
export BUILD
exec /usr/bin/python3 "$(dirname "$0")/wire.py" "${1:-60}" "${2:-1}" "${3:-0}"
