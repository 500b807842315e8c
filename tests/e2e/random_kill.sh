# SPDX-License-Identifier: Apache-2.0
# 40 kills at named phases and random moments (500 by tests/long.sh kill).
exec sh "$(dirname "$0")/../long/kill.sh" 40 1 0
