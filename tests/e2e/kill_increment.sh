# SPDX-License-Identifier: Apache-2.0
# The kill table of backups, over increments.
KEEP=1
. "$(dirname "$0")/kill_backup.sh"
