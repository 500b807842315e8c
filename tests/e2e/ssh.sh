#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# src/host against a real sshd of our own on loopback: keys, pinned host keys,
# every way to fail with its message, pushing a helper, its protocol.
# In a world of its own: it looks for helpers by their name, and some of its
# helpers are made to stay.
if [ "${SSH_INNER-}" = '' ] && [ "$(id -u)" -eq 0 ]; then
  SSH_INNER=1
  export SSH_INNER
  exec unshare --mount --pid --fork --kill-child --mount-proc sh "$0"
fi
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" -eq 0 ] || skip "needs root for a private sshd"
SSHD=$(command -v sshd) || skip "needs sshd"
peer=$BUILD/tests/e2e/ssh_peer
mock=$BUILD/tests/e2e/mock_helper
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd

for type in ed25519 ecdsa rsa; do
  ssh-keygen -q -t $type -N '' -C "user $type" -f "$WORK/id_$type"
  ssh-keygen -q -t $type -N '' -C "host $type" -f "$WORK/host_$type"
done
ssh-keygen -q -t ecdsa -b 521 -N '' -f "$WORK/id_ecdsa521"
ssh-keygen -q -t rsa -m PEM -N '' -f "$WORK/id_pem"
ssh-keygen -q -t ed25519 -N secret -f "$WORK/id_locked"
ssh-keygen -q -t rsa -m PEM -N secret -f "$WORK/id_pemlocked"
ssh-keygen -q -t ed25519 -N '' -f "$WORK/id_stranger"
ssh-keygen -q -t ed25519 -N '' -f "$WORK/host_other"
cat "$WORK"/id_ed25519.pub "$WORK"/id_ecdsa.pub "$WORK"/id_rsa.pub \
  "$WORK"/id_ecdsa521.pub "$WORK"/id_pem.pub "$WORK"/id_locked.pub \
  >"$WORK/authorized"

# One private sshd: sshd_up NAME [CONFIG LINE]...; sets PORT and SSHD_PID.
sshd_up ()
{
  conf=$WORK/sshd_$1
  log=$WORK/sshd_$1.log
  shift
  tries=0
  while [ "$tries" -lt 20 ]; do
    tries=$((tries + 1))
    PORT=$(python3 -c 'import socket; s = socket.socket()
s.bind (("127.0.0.1", 0)); print (s.getsockname ()[1])')
    {
      echo "Port $PORT"
      echo "ListenAddress 127.0.0.1"
      echo "PidFile none"
      echo "StrictModes no"
      echo "UsePAM no"
      echo "PermitRootLogin yes"
      echo "AuthorizedKeysFile $WORK/authorized"
      printf '%s\n' "$@"
    } >"$conf"
    "$SSHD" -D -e -f "$conf" 2>"$log" &
    SSHD_PID=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      grep -qs 'Server listening' "$log" && break
      sleep 0.1
    done
    if grep -qs 'Server listening' "$log"; then
      cleanup_fn "kill $SSHD_PID 2>/dev/null"
      return 0
    fi
    wait "$SSHD_PID" || true
  done
  die "sshd does not start: $(cat "$log")"
}

# p ARG...: the peer as root with the Ed25519 key and host key
p ()
{
  "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$PIN" "$@"
}

pin ()
{
  cut -d' ' -f1-2 "$WORK/host_$1.pub"
}

fingerprint ()
{
  ssh-keygen -lf "$WORK/host_$1.pub" | cut -d' ' -f2
}

PIN=$(pin ed25519)
sshd_up all "HostKey $WORK/host_ed25519" "HostKey $WORK/host_ecdsa" \
  "HostKey $WORK/host_rsa"
MAIN_PORT=$PORT

# --- keys that let us in --------------------------------------------------
for key in ed25519 ecdsa rsa ecdsa521 pem; do
  expect 0 "$peer" -p "$PORT" -k "$WORK/id_$key" -H "$PIN" open
  says "cipher aes128-gcm@openssh.com"
done
# Each type of host key, alone and by fingerprint, though sshd has all three.
for type in ed25519 ecdsa rsa; do
  expect 0 "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$(pin $type)" open
  expect 0 "$peer" -p "$PORT" -k "$WORK/id_ed25519" \
    -H "$(fingerprint $type)" open
done
expect 0 "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$(pin other)" \
  -H "$(pin rsa) root@hv1" open
expect 0 p -c chacha20-poly1305@openssh.com open
says "cipher chacha20-poly1305@openssh.com"

# --- host keys that do not ------------------------------------------------
expect 5 "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$(pin other)" open
says "hostkey host hv1 (127.0.0.1 port $PORT) shows the SSH host key"
says "$(fingerprint ed25519)"
says "fetch its key again in the engine"
expect 5 "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$(fingerprint other)" open
says "$(fingerprint ecdsa)"
expect 5 "$peer" -p "$PORT" -k "$WORK/id_ed25519" open
says "the engine has no SSH host key"
expect 5 "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "ssh-dss AAAA" open
says "of the type ssh-dss"
sshd_up ecdsa "HostKey $WORK/host_ecdsa"
expect 5 p open
says "has no SSH host key of the type that the engine knows (ssh-ed25519)"
PORT=$MAIN_PORT
# Never trusted for being known to the user.
mkdir -p "$WORK/home/.ssh"
{
  printf '[127.0.0.1]:%s ' "$PORT"
  pin ed25519
} >"$WORK/home/.ssh/known_hosts"
printf 'Host *\n  User nobody\n  Port 1\n  Ciphers aes256-ctr\n' \
  >"$WORK/home/.ssh/config"
expect 5 env HOME="$WORK/home" "$peer" -p "$PORT" -k "$WORK/id_ed25519" \
  -H "$(pin other)" open
expect 0 env HOME="$WORK/home" "$peer" -p "$PORT" -k "$WORK/id_ed25519" \
  -H "$PIN" open
says "cipher aes128-gcm@openssh.com"

# --- users and keys that are wrong ----------------------------------------
expect 4 p -u nobody-here open
says "does not let user nobody-here in with the key $WORK/id_ed25519"
says "authorized_keys"
expect 4 p -k "$WORK/id_stranger" open
says "ssh.key_file"
expect 3 p -k "$WORK/absent" open
says "$WORK/absent: No such file or directory"
expect 3 p -k "$WORK" open
says "not a regular file"
cp "$WORK/id_ed25519" "$WORK/id_open"
chmod 644 "$WORK/id_open"
expect 3 p -k "$WORK/id_open" open
says "chmod 600"
for bad in locked pemlocked; do
  expect 3 p -k "$WORK/id_$bad" open
  says "not a private key without a passphrase"
done
echo nonsense >"$WORK/id_bad"
chmod 600 "$WORK/id_bad"
expect 3 p -k "$WORK/id_bad" open
says "ssh-keygen"
install -m 600 "$WORK/id_ed25519.pub" "$WORK/id_public"
expect 3 p -k "$WORK/id_public" open
if su -s /bin/sh nobody -c true 2>/dev/null; then
  cp "$WORK/id_ed25519" "$WORK/id_root"
  chmod 600 "$WORK/id_root"
  chmod 711 "$WORK"
  # The checkout may lie where nobody else can look.
  install -m 755 "$peer" "$WORK/peer"
  expect 3 su -s /bin/sh nobody -c "$WORK/peer -p $PORT -k $WORK/id_root -H '$PIN' open"
  says "Permission denied"
fi

# --- the network ----------------------------------------------------------
free=$(python3 -c 'import socket; s = socket.socket()
s.bind (("127.0.0.1", 0)); print (s.getsockname ()[1])')
expect 6 "$peer" -p "$free" -k "$WORK/id_ed25519" -H "$PIN" open
says "Connection refused"
says "port $free"
expect 6 "$peer" -a no-such-host.invalid -k "$WORK/id_ed25519" -H "$PIN" open
says "look up the address no-such-host.invalid"
# A server that accepts and says nothing, and one that hangs up.
cat >"$WORK/mute.py" <<'EOF'
import socket, sys, time
s = socket.socket ()
s.bind (("127.0.0.1", 0))
s.listen ()
print (s.getsockname ()[1], flush=True)
keep = []
while True:
    c, _ = s.accept ()
    if sys.argv[1] == "mute":
        keep.append (c)
    else:
        c.close ()
EOF
for mode in mute rude; do
  python3 "$WORK/mute.py" $mode >"$WORK/$mode.port" &
  cleanup_fn "kill $! 2>/dev/null"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -s "$WORK/$mode.port" ] && break
    sleep 0.1
  done
  expect 6 "$peer" -p "$(cat "$WORK/$mode.port")" -t 1 -k "$WORK/id_ed25519" \
    -H "$PIN" open
  says "SSH handshake"
done
# A stop of the user ends the wait at once.
begin=$(date +%s)
"$peer" -p "$(cat "$WORK/mute.port")" -t 30 -k "$WORK/id_ed25519" -H "$PIN" \
  open >"$OUT" 2>&1 &
pid=$!
sleep 0.5
kill -TERM $pid
status=0
wait $pid || status=$?
[ "$status" -eq 14 ] || die "TERM during the handshake gives $status"
[ $(($(date +%s) - begin)) -lt 5 ] || die "TERM was not honoured"

# --- programs -------------------------------------------------------------
expect 0 p run "echo hello; echo oops >&2; exit 3"
says "hello"
says "status 3 stderr oops"
expect 0 p run 'kill -9 $$'
says "status 137"
expect 8 p run "head -c 100000 /dev/zero"
says "more than 65536 bytes"
expect 0 p count "head -c 300000000 /dev/zero"
says "count 300000000 status 0"
expect 0 p feed 50000000 "wc -c; exit 4"
says "50000000"
says "status 4"
expect 0 p feed 0 "cat"
says "status 0"
# The program ends while we still write.
expect 7 p feed 500000000 "head -c 10 >/dev/null"
says "the program on the host has ended"
expect 0 p pool 2 6 "echo pooled"
[ "$(grep -c pooled "$OUT")" -eq 18 ] || die "the pool lost runs"

# New keys in the middle, both ways.
sshd_up rekey "HostKey $WORK/host_ed25519" "RekeyLimit 4M"
expect 0 p count "head -c 100000000 /dev/zero"
says "count 100000000 status 0"
expect 0 p feed 100000000 "wc -c"
says "100000000"
PORT=$MAIN_PORT

# A connection that died while nobody used it is replaced.
sshd_up idle "HostKey $WORK/host_ed25519"
mkfifo "$WORK/fifo"
p idle 'echo $PPID' <"$WORK/fifo" >"$WORK/idle" 2>&1 &
pid=$!
exec 3>"$WORK/fifo"
for _ in 1 2 3 4 5 6 7 8 9 10; do
  grep -qs 'status 0' "$WORK/idle" && break
  sleep 0.2
done
kill "$(head -n 1 "$WORK/idle")"
sleep 0.2
echo >&3
exec 3>&-
wait $pid || die "a dead connection was used: $(cat "$WORK/idle")"
[ "$(grep -c 'status 0' "$WORK/idle")" -eq 2 ] || die "it ran once only"
PORT=$MAIN_PORT

# Sessions that end or stall in the middle.
session_pid ()
{
  # The sshd child that holds our command.
  pgrep -P "$(pgrep -P "$SSHD_ALL" | tail -n 1)" | head -n 1
}
sshd_up lone "HostKey $WORK/host_ed25519"
SSHD_ALL=$SSHD_PID
for signal in KILL STOP; do
  p -s 2 count "cat /dev/zero" >"$OUT" 2>&1 &
  pid=$!
  sleep 1
  child=$(pgrep -P "$SSHD_ALL" | tail -n 1)
  kill -$signal "$child"
  status=0
  wait $pid || status=$?
  [ $signal = STOP ] && kill -KILL "$child"
  [ "$status" -eq 6 ] || die "$signal of the session gives $status"
  case $signal in
    STOP) says "nothing came for 2 seconds" ;;
    *) says "fault net host hv1" ;;
  esac
done
p -s 2 feed 500000000 "sleep 60" >"$OUT" 2>&1 && die "a stalled write passed"
says "the host took nothing"
PORT=$MAIN_PORT

# --- the helper -----------------------------------------------------------
clean_host ()
{
  for dir in /run /var/tmp /dev/shm /root /tmp; do
    left=$(find $dir -maxdepth 1 -name '.chainlift.*' -newer "$WORK/begin")
    [ -z "$left" ] || die "left on the host: $left"
  done
}
: >"$WORK/begin"
expect 0 p start "$mock"
says "helper mock"
expect 0 p start "$mock" good
says "data 2097664 zero 67108864"
clean_host
expect 8 p start "$mock" bad-check
says "the check"
expect 8 p start "$mock" bad-magic
says "instead of its magic"
expect 8 p start "$mock" wrong-id
says "no READ has this id"
expect 8 p start "$mock" outside
says "outside of the range"
expect 8 p start "$mock" overlong
says "over a maximum"
expect 8 p start "$mock" short-count
says "it counts other data than came"
expect 13 p start "$mock" bad-digest
says "the digest differs"
expect 9 p start "$mock" fault-read
says "host hv1: made up"
expect 9 p start "$mock" fault-session
expect 7 p start "$mock" die
says "killed"
expect 7 p start "$mock" exit
says "status 7: mock: no more"
expect 6 p -s 3 start "$mock" silent 1
says "nothing came for 3 seconds"
expect 6 p -s 30 -A 2 start "$mock" mute 1
says "the helper lives but gave no answer for"
clean_host
expect 3 p start "$WORK/no-helper"
says "$WORK/no-helper"

# A script says something at login, on both outputs: nobody minds.
sshd_up noisy "HostKey $WORK/host_ed25519" "SetEnv MOCK_NOISE=1" \
  "ForceCommand echo welcome to hv1; echo noise >&2; eval \"\$SSH_ORIGINAL_COMMAND\""
expect 0 p start "$mock" good
# The host forbids it.
sshd_up refuse "HostKey $WORK/host_ed25519" \
  "SetEnv \"MOCK_REFUSE=Permission denied\""
expect 7 p start "$mock"
says "no directory lets the helper run: /run: Permission denied; /var/tmp:"
says "noexec"
says "ssh.helper_path"
sshd_up policy "HostKey $WORK/host_ed25519" \
  "SetEnv \"MOCK_REFUSE=Operation not permitted\""
expect 7 p start "$mock"
says "fapolicyd-cli --file add"
sshd_up shell "HostKey $WORK/host_ed25519" "ForceCommand echo closed; exit 9"
expect 7 p start "$mock"
says "ended with status 9 before it started the helper"
PORT=$MAIN_PORT
printf 'not a program' >"$WORK/text"
expect 7 p start "$WORK/text"
says "no directory lets the helper run"
# The controller dies while it pushes: the shell cleans up.
head -c 4000000 /dev/urandom >"$WORK/large"
for _ in 1 2 3; do
  "$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$PIN" start "$WORK/large" \
    >"$OUT" 2>&1 &
  pid=$!
  sleep 0.1
  kill -KILL $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
done
sleep 1
clean_host

# Placed by the administrator.
install -m 755 "$mock" "$WORK/placed"
chmod 755 "$WORK"
expect 0 p placed "$WORK/placed" "$mock" good
says "data 2097664"
expect 7 p placed "$WORK/placed" "$peer"
says "is not the helper of this version"
expect 7 p placed "$WORK/nowhere" "$mock"
says "No such file"
expect 3 p placed "/a b" "$mock"
says "absolute path"
chmod 644 "$WORK/placed"
expect 7 p placed "$WORK/placed" "$mock"
says "does not run (status 126"
chmod 755 "$WORK/placed"

# sudo, as it refuses.
mkdir "$WORK/bin"
sshd_up sudo "HostKey $WORK/host_ed25519" \
  "SetEnv PATH=$WORK/bin:/usr/bin:/bin"
sudo_says ()
{
  printf '#!/bin/sh\necho "%s" >&2\nexit 1\n' "$1" >"$WORK/bin/sudo"
  chmod 755 "$WORK/bin/sudo"
}
sudo_says "sudo: a password is required"
expect 7 p -S start "$mock"
says "sudo wants a password of user root"
says "NOPASSWD"
expect 7 p -S probe
says "NOPASSWD"
sudo_says "sudo: sorry, you must have a tty to run sudo"
expect 7 p -S start "$mock"
says "!requiretty"
sudo_says "root is not in the sudoers file."
expect 7 p -S start "$mock"
says "does not let user root run commands as root"
printf '#!/bin/sh\n[ "$1" = -n ] && shift && exec "$@"\n' >"$WORK/bin/sudo"
expect 0 p -S start "$mock" good
expect 0 p -S placed "$WORK/placed" "$mock" good

# --- helpers that still run -----------------------------------------------
PORT=$MAIN_PORT
expect 0 p probe
says "boot $(cat /proc/sys/kernel/random/boot_id)"
"$peer" -p "$PORT" -k "$WORK/id_ed25519" -H "$PIN" -s 60 start "$mock" silent \
  >"$WORK/silent" 2>&1 &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
  grep -q 'helper mock' "$WORK/silent" && break
  sleep 0.2
done
# Those of other tests are in the namespaces of their labs.
helper=$(pgrep --ns $$ --nslist pid -f '^/run/.chainlift.*/chainlift-remote' | tail -n 1)
expect 0 p probe
says "leftover $helper S"
kill $pid
wait $pid || true
sleep 1
expect 0 p probe
says_not "leftover $helper"
clean_host
