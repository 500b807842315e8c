# SPDX-License-Identifier: Apache-2.0
# A host freezes while it writes a restore onto a logical volume, and is thawed
# when the engine has given the extents to another disk, or would not.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/parts/hang.sh"

# --- not held: the administrator removes the disk ---------------------------

frozen none
gave_up
where=$(ctl extents "$disk")
api DELETE "/disks/$disk" >/dev/null
ctl idle >/dev/null
other=$(api POST /disks "<disk><alias>other</alias><format>raw</format><sparse>false</sparse><provisioned_size>134217728</provisioned_size><storage_domains><storage_domain id=\"$domain\"/></storage_domains></disk>" \
  | sed -n 's/.*<disk [^>]*id="\([^"]*\)".*/\1/p' | head -n 1)
ctl idle >/dev/null
[ "$(ctl extents "$other")" = "$where" ] \
  || die "the other disk has other extents: $(ctl extents "$other"), not $where"
ctl fill-lv "$other" 'what another disk holds'
ctl copy-lv "$other" "$WORK/other"
thawed
ctl copy-lv "$other" "$WORK/other.now"
cmp "$WORK/other" "$WORK/other.now" || die "the helper wrote into another disk"
api DELETE "/disks/$other" >/dev/null
expect 0 cl leftovers --clean
if mapped "$leaf"; then
  die "the volume that is gone is still mapped"
fi
clean
echo "ok: not held, thawed when its extents were another disk's; gave up in $took s"

# --- held: nobody can ---------------------------------------------------------

frozen auto
kill_halted
if api DELETE "/disks/$disk" >"$WORK/delete" 2>&1; then
  die "the engine removed a disk that is held"
fi
[ "$(made)" = "$disk" ] || die "the disk is gone"
ctl copy-lv "$disk" "$WORK/held"
# Its proof would hold: only the heartbeat, which was 20 s, keeps it from writing
# what has come.
until [ $(($(date +%s) - begun)) -gt 25 ]; do
  sleep 1
done
thawed
ctl copy-lv "$disk" "$WORK/held.now"
cmp "$WORK/held" "$WORK/held.now" \
  || die "the helper wrote after its heartbeat had stopped"
expect 0 cl leftovers --clean
clean
echo 'ok: held, thawed'

