# SPDX-License-Identifier: Apache-2.0
# 500 damaged images (10,000 under the sanitizers by tests/long.sh mutate).
. "$(dirname "$0")/lib.sh"
/usr/bin/python3 "$TOP/tests/image/mutate.py" 500 1 0 \
  "$TOP/build-results/mutate"
