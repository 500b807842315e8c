# SPDX-License-Identifier: Apache-2.0
# The command line without an engine: help, usage, exit statuses, messages of
# the configuration, and that the man pages say all of it.
. "$(dirname "$0")/lib.sh"

p=$BUILD/src/chainlift

# Help and version go to stdout, with status 0.
expect 0 "$p" --help
says 'Usage: chainlift'
"$p" --help 2>"$WORK/err" >"$WORK/help"
[ ! -s "$WORK/err" ] || die "--help writes to stderr"
expect 0 "$p" --version
says "chainlift $(sed -n 's/^AC_INIT(\[chainlift\], \[\(.*\)\])/\1/p' \
  "$TOP/configure.ac")"

"$p" help | cmp - "$WORK/help" || die "help is not --help"
expect 0 "$p" help backup
says 'Usage: chainlift backup'
says 'Back up virtual machines.'

# Who stops reading is told nothing, and sees the status of SIGPIPE.
mkfifo "$WORK/fifo"
sleep 5 <"$WORK/fifo" &
reader=$!
exec 3>"$WORK/fifo"
kill "$reader"
wait "$reader" || true
got=0
"$p" --help >&3 2>"$WORK/err" || got=$?
exec 3>&-
[ "$got" -eq 141 ] && [ ! -s "$WORK/err" ] || die "a broken pipe: $got"

# Every command of the help has its own, and stands in the man page.
sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' "$WORK/help" \
  >"$WORK/commands"
for command in config-check hosts vms backup points show verify restore \
  leftovers unlock image help; do
  grep -qx "$command" "$WORK/commands" || die "no command $command"
done
while read -r command; do
  expect 0 "$p" "$command" --help
  says "chainlift $command"
  grep -q "^\.It Cm $command" "$TOP/docs/chainlift.1" \
    || die "$command is not in chainlift(1)"
  sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p' "$OUT" | while read -r o; do
    grep -q "Fl -${o#--}\>" "$TOP/docs/chainlift.1" \
      || die "$command $o is not in chainlift(1)"
  done
done <"$WORK/commands"

# Wrong usage: status 2 and a message that names what is wrong.
usage ()
{
  text=$1
  shift
  expect 2 "$p" "$@"
  says "$text"
}
usage 'a command is missing'
usage 'unknown command "frob"' frob
usage 'unknown option --frob' --frob
usage 'unknown option --frob' backup --frob
usage 'unknown option -z' backup -z
usage 'option --config needs a value: FILE' --config
usage 'option --full takes no value' backup --full=yes a
usage 'backup: a SELECTOR is missing' backup
usage 'show: the POINT is missing' show
usage 'image: map, flatten or check is missing' image
usage 'image map needs one FILE' image map
usage 'option --as is given twice: "a" and "b"' restore p --as a --as b
usage '--quick (no decoder) does not go with --qemu' verify --quick --qemu
usage 'unknown command "frob"' help frob
usage '"b" is too much' show a b
usage '--as NAME (a new VM) or --disk DISK --to FILE' restore a@latest
usage '--disk needs --to FILE' restore a@latest --disk d
usage '--as does not go with --disk' restore a@latest --as n --disk d --to f
usage '--to does not go with --as' restore a@latest --as n --to f
usage 'format "vmdk" is neither' restore a@latest --disk d --to f -O vmdk

# The same as JSON: one error object on stdout.
got=0
"$p" --json frob >"$OUT" 2>/dev/null || got=$?
[ "$got" -eq 2 ] || die "exit $got"
jq -e '.v == 1 and .type == "error" and .code == "usage" and .status == 2' \
  "$OUT" >/dev/null || die "no error object"

# The configuration: status 3, file and line.
conf ()
{
  text=$1
  printf '%s\n' "$2" >"$WORK/c.conf"
  expect 3 "$p" -c "$WORK/c.conf" points
  says "$text"
}
expect 3 "$p" -c "$WORK/absent.conf" points
says 'absent.conf: No such file'
conf "c.conf:2: repositry: unknown key; did you mean repository?" '
repositry = "/r";'
conf "c.conf:1: engine.password: a password is not kept here" \
  'engine = { password = "x"; };'
conf 'c.conf:1: syntax error' 'engine = ;'
conf 'c.conf:2: engine.url: must begin with https://' 'engine = {
  url = "http://e"; };'
conf 'c.conf:1: engine.user: needs its profile' 'engine = { user = "u"; };'
conf 'repository is missing' ''
mkdir "$WORK/conf.d"
echo 'x = 1;' >"$WORK/conf.d/a.conf"
conf 'conf.d/a.conf:1: x: unknown key' ''
rm "$WORK/conf.d/a.conf"
chmod 666 "$WORK/c.conf"
expect 3 "$p" -c "$WORK/c.conf" points
says 'chmod go-w'

# The example is right but for its files, and shows every key; the man page
# too, with none that is not read.
cp "$TOP/conf/chainlift.conf.example" "$WORK/example.conf"
expect 11 "$p" -c "$WORK/example.conf" points
sed 's/^\( *\)#\( *[a-z_]* = \)/\1\2/; s/^#\(  *[{})]\|[})]\)/\1/' \
  "$TOP/conf/chainlift.conf.example" >"$WORK/example.conf"
sed -i '/password_command/d' "$WORK/example.conf"
expect 11 "$p" -c "$WORK/example.conf" points
sed -n 's/^  { "\([a-z_]*\)", KIND_.*/\1/p' "$TOP/src/conf/keys.c" \
  | sort -u >"$WORK/keys"
[ "$(wc -l <"$WORK/keys")" -gt 25 ] || die "keys.c has another form"
while read -r key; do
  grep -q "\<$key = " "$TOP/conf/chainlift.conf.example" \
    || die "$key is not in the example"
  grep -q "^\.It Va .*\<$key\>" "$TOP/docs/chainlift.conf.5" \
    || die "$key is not in chainlift.conf(5)"
done <"$WORK/keys"
sed -n 's/^\.It Va //p' "$TOP/docs/chainlift.conf.5" | tr -d ' ' | tr , '\n' \
  | while read -r key; do
  grep -qx "$key" "$WORK/keys" || die "$key of chainlift.conf(5) is not read"
done

# Every JSON type that the sources print stands in the man page.
sed -n 's/.*json_begin (&j, "\([a-z]*\)").*/\1/p' "$TOP"/src/cli/*.c \
  "$TOP/src/main.c" | sort -u >"$WORK/types"
[ "$(wc -l <"$WORK/types")" -gt 8 ] || die "json_begin has another form"
while read -r type; do
  grep -q "^\.It Cm $type$" "$TOP/docs/chainlift.1" \
    || die "the type $type is not in chainlift(1)"
done <"$WORK/types"

# Exit statuses: the numbers of fault.h.
sed -n 's/^  FAULT_\([A-Z]*\) = \([0-9]*\),/\2 \1/p' "$TOP/src/base/fault.h" \
  | tr 'A-Z' 'a-z' | while read -r number name; do
  [ "$number" = 0 ] || grep -q "^\.It $number Pq $name$" \
    "$TOP/docs/chainlift.1" || die "status $number $name is not in chainlift(1)"
done

# The man pages.
command -v mandoc >/dev/null || die "mandoc is not installed"
for page in "$TOP"/docs/*.[1578]; do
  expect 0 mandoc -Tlint -W warning "$page"
  [ ! -s "$OUT" ] || die "$page has warnings"
done
