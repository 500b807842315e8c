# SPDX-License-Identifier: Apache-2.0
# What the commands print: config-check with its advice, lists as text and as
# JSON, progress on a terminal and in a pipe, --quiet.
. "$(dirname "$0")/lib.sh"

lab_up --hosts 2

# Each line of JSON is one object of the named type; fills $WORK/json.
json ()
{
  type=$1
  shift
  cl --json "$@" >"$WORK/json" 2>"$WORK/err" || die "exit $?: $*"
  grep -v '^{"v":1,"type":"[a-z]*"' "$WORK/json" && die "a line is no object"
  jq -e . "$WORK/json" >/dev/null || die "no JSON: $*"
  grep -q "^{\"v\":1,\"type\":\"$type\"" "$WORK/json" || die "no $type: $*"
}
fits ()
{
  jq -se "$1" "$WORK/json" >/dev/null || {
    head -c 2000 "$WORK/json" >&2
    die "not so: $1"
  }
}

# config-check: all good, then one thing wrong at a time.
expect 0 cl config-check
says 'there is none yet; the first backup makes it'
[ "$(grep -c '^ok       host ' "$OUT")" -eq 2 ] || die "not two hosts"
says_not failed
json check config-check
fits 'all(.[]; .type == "check" and .state != "failed")'
fits '[.[] | select(.check == "engine")] | length == 1'

wrong ()
{
  sed "$1" "$LAB_CONF" >"$LAB/wrong.conf"
  expect "$2" "$BUILD/src/chainlift" -c "$LAB/wrong.conf" config-check
  says "$3"
}
echo wrong >"$WORK/password"
chmod 600 "$WORK/password"
wrong "s,password_file = .*,password_file = \"$WORK/password\";," 4 \
  'failed   engine'
wrong "s,password_file = .*,password_command = \"cat $LAB_PASSWORD_FILE\";," 0 \
  'ok       engine'
chmod 644 "$WORK/password"
wrong "s,password_file = .*,password_file = \"$WORK/password\";," 3 \
  'lets others read it'
ssh-keygen -q -t ed25519 -N '' -f "$WORK/key"
wrong "s,key_file = .*,key_file = \"$WORK/key\";," 4 'failed   host'
wrong "s,repository = .*,repository = \"/nowhere/repo\";," 11 \
  'open repository /nowhere/repo: its parent folder is missing: mkdir -p /nowh'
says 'failed   repository'
sed 's,repository = .*,repository = "/nowhere/repo";,' "$LAB_CONF" \
  >"$LAB/wrong.conf"
expect 11 "$BUILD/src/chainlift" -c "$LAB/wrong.conf" backup web01
says 'its parent folder is missing: mkdir -p /nowhere'
mkdir "$WORK/full"
touch "$WORK/full/x"
wrong "s,repository = .*,repository = \"$WORK/full\";," 2 'failed   repository'
said=$(sed -n 's/^failed   repository *//p' "$OUT")
expect 2 "$BUILD/src/chainlift" -c "$LAB/wrong.conf" backup web01
says "$said"
wrong "s,ca_file = .*,ca_file = \"/nowhere/ca\";," 3 'fetch it: curl -ko /now'
says 'skipped  engine'
wrong "s,key_file = .*,key_file = \"/nowhere/key\";," 3 'make one: ssh-keygen'
wrong "s,password_file = .*,password_file = \"/nowhere/pw\";," 3 \
  'write the password into it'
wrong 's,^\( *\)user = "root".*,\1user = "backup";,' 3 'set ssh.sudo = true with'
[ "$(grep -c '^failed   host' "$OUT")" -eq 2 ] || die "not two hosts failed"
printf '%s\n' 'hosts = ( { name = "h9"; } );' >"$WORK/more"
wrong "\$r $WORK/more" 0 'h9: stands in hosts but the engine does not know it'
rm "$LAB/wrong.conf"
ctl host-status h2 maintenance >/dev/null
expect 0 cl config-check
says 'skipped  host          h2: its status is maintenance'
ctl host-status h2 up >/dev/null

# Lists.
json host hosts
fits 'map(.name) | sort == ["h1", "h2"]'
json vm vms
fits 'all(.[]; .type == "vm" and (.disks | type) == "array")'
fits 'map(.name) | index("web01")'
json vm vms 'web*' '!web01x'
fits 'length == 1 and .[0].name == "web01"'
expect 11 cl vms nothing-like-it
says '"nothing-like-it" matches no VM of the engine'
expect 11 cl points
expect 0 cl vms
says LEFT

# A dry run changes nothing and says what and why.
changes ()
{
  ctl log | jq '[.[] | select(.method != "GET"
    and (.path | test("sso") | not))] | length'
}
expect 0 cl backup web01
says 'web01: backed up as web01@'
before=$(changes)
expect 0 cl backup --dry-run web01
says 'full: '
json plan backup -n web01
[ "$before" -gt 1 ] && [ "$(changes)" -eq "$before" ] \
  || die "a dry run changed something"
fits '[.[] | select(.type == "plan")][0] | .vm == "web01" and (.reason != "")'
fits '.[-1].type == "summary" and .[-1].done == 1 and .[-1].status == 0'

# A pipe gets plain lines, stdout the result alone; --quiet nothing.
cl backup web01 >"$WORK/stdout" 2>"$WORK/stderr" || die "backup: $?"
grep -q '^chainlift: web01: taking the snapshot' "$WORK/stderr" || die "no phase"
[ "$(wc -l <"$WORK/stdout")" -eq 1 ] || die "stdout has more than the result"
if grep -q "$(printf '\033')" "$WORK/stderr"; then
  die "escapes in a pipe"
fi
cl --quiet backup web01 >"$WORK/stdout" 2>"$WORK/stderr" || die "backup: $?"
[ ! -s "$WORK/stdout" ] && [ ! -s "$WORK/stderr" ] || die "--quiet says more"
json result backup web01
[ ! -s "$WORK/err" ] || die "--json prints phases on stderr too"
fits '.[-1].type == "summary" and .[-1].status == 0 and .[-1].done == 1'
fits '[.[] | select(.type == "result")][0] | .state == "done"
  and (.point | startswith("web01@")) and .data > 0'

# A terminal gets a bar, which is gone at the end.
cp "$LAB_CONF" "$LAB/slow.conf"
echo 'transfer = { bandwidth = "8M"; };' >>"$LAB/slow.conf"
TERM=xterm script -qec "stty cols 100 rows 24; $BUILD/src/chainlift \
  -c $LAB/slow.conf backup web01" "$WORK/typescript" >/dev/null </dev/null \
  || die "backup on a terminal: $?"

# A stop is told at once.
"$BUILD/src/chainlift" -c "$LAB/slow.conf" backup web01 >"$OUT" 2>&1 &
pid=$!
n=0
until grep -q 'web01: reading: ' "$OUT"; do
  n=$((n + 1))
  [ "$n" -lt 300 ] || die "no stream in 30 s"
  sleep 0.1
done
kill "$pid"
got=0
wait "$pid" || got=$?
[ "$got" -eq 14 ] || die "stopped with status $got"
says 'stopping: cleaning up; a second Ctrl-C ends at once'
sed '/stopping: /q' "$OUT" | grep -q 'error: .*stopped on request$' \
  && die "the stop is told too late"
rm "$LAB/slow.conf"
grep -q ' %  .* of .*/s' "$WORK/typescript" || die "no progress"
grep -q 'ETA' "$WORK/typescript" || die "no ETA"
grep -q 'web01: backed up as' "$WORK/typescript" || die "no result"

# Points.
json point points web01
fits 'length == 5 and (map(.stamp) | . == (sort | reverse))'
point=$(jq -r 'select(.type == "point") | .point' "$WORK/json" | tail -n 1)
json point points
json point show "$point"
fits '.[0] | .point == "'"$point"'" and (.disks | length) == 1
  and .disks[0].virtual_size > 0 and (.nics | type) == "array"'
expect 0 cl show web01@-1
says 'consistency'
expect 11 cl show web01@-9
expect 2 cl show web01
expect 11 cl show nobody@latest
json verify verify "$point"
fits '.[0].good and (.[0].disks[0].decoder | test("libqcow|qemu-img"))'
json verify verify
fits '.[-1].type == "summary" and .[-1].done == 5 and .[-1].failed == 0'

# A disk to a file.
expect 0 cl restore "$point" --disk web01_Disk1 --to "$WORK/a.raw"
says "$point: disk web01_Disk1 restored to $WORK/a.raw: 1 disk of "
json result restore web01@latest --disk web01_Disk1 --to "$WORK/j.raw"
fits '[.[] | select(.type == "result")][0] | .vm == "web01"
  and (.point | test("^web01@2.*Z")) and .alias == "web01_Disk1"
  and .file == "'"$WORK"'/j.raw" and (.disk_id | length) == 36'
got=0
{ cl restore "$point" --disk web01_Disk1 --to - 2>"$WORK/err" \
  || echo $? >"$WORK/got"; } | head -c 1 >/dev/null
[ "$(cat "$WORK/got")" -eq 141 ] || die "a broken pipe: $(cat "$WORK/got")"
grep -q 'Broken pipe' "$WORK/err" && die "a broken pipe is told"
expect 2 cl restore "$point" --disk web01_Disk1 --to "$WORK/a.raw"
says 'exists already'
cl -q restore "$point" --disk web01_Disk1 --to - | cmp - "$WORK/a.raw" \
  || die "stdout is not the file"
expect 0 cl restore "$point" --disk web01_Disk1 --to "$WORK/a.qcow2" -O qcow2
qemu-img compare -f raw -F qcow2 "$WORK/a.raw" "$WORK/a.qcow2" >/dev/null \
  || die "qcow2 is not raw"
expect 2 cl --json restore "$point" --disk web01_Disk1 --to -
expect 11 cl restore "$point" --disk none --to "$WORK/b.raw"
[ ! -e "$WORK/b.raw" ] || die "a file is left"

# As a new VM: the line and the object name what it was and what it became.
expect 0 cl restore "$point" --as web01-copy
says "$point: restored as web01-copy: 1 disk of "
json result restore web01@latest --as web01-again
fits '[.[] | select(.type == "result")][0] | .vm == "web01"
  and .new_vm == "web01-again" and (.point | test("^web01@2.*Z"))'
ctl baseline >/dev/null # these are meant to stay

# A damaged manifest is told, and is no other point instead.
dir=$(find "$LAB_REPO/vms" -name "${point#*@}")
cp "$dir/manifest" "$WORK/manifest"
sed -i 's/^kind full/kind fuil/' "$dir/manifest"
expect 0 cl points
says damaged
expect 13 cl show "$point"
expect 1 cl verify --quick
says '4 good, 1 bad'
settings 'snapshot: { keep = true; };'
expect 0 cl config-check
settings ''
cp "$WORK/manifest" "$dir/manifest"

# What a killed run left: the names of things, on a terminal too.
halt stream backup web01
kill_halted
expect 1 cl leftovers
cp "$OUT" "$WORK/left"
grep -Eq '^snapshot  web01  [0-9a-f]{8}  ours  .*the next backup of this VM' \
  "$WORK/left" || die "no snapshot by name"
grep -Eq '^draft     web01  ' "$WORK/left" || die "no draft by name"
script -qec "stty cols 80 rows 24; $BUILD/src/chainlift -c $LAB_CONF leftovers" \
  "$WORK/typescript" >/dev/null </dev/null || true
grep -q 'of this VM' "$WORK/typescript" || die "nothing on a terminal"
tr -d '\r' <"$WORK/typescript" | grep -v '^Script' \
  | awk 'length > 80 { exit 1 }' || die "wider than 80 columns"
expect 0 cl backup web01
expect 0 cl leftovers
clean
