# SPDX-License-Identifier: Apache-2.0
# 150 random chains against qemu-img (2,000 by tests/long.sh chains).
. "$(dirname "$0")/lib.sh"
sh "$TOP/tests/long/chains.sh" 150 1 0
