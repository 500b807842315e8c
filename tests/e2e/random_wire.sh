# SPDX-License-Identifier: Apache-2.0
# 60 broken streams, at random bytes (1,000 by tests/long.sh wire).
exec sh "$(dirname "$0")/../long/wire.sh" 60 1 0
