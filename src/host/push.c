/* SPDX-License-Identifier: Apache-2.0 */
/* The shell and we talk in lines that begin with a nonce, so that whatever a
   login script prints is not taken for an answer:

     host                          controller
     NONCE send DIR        ->
                           <-      the binary, its size is known to both
                           <-      NONCE
     NONCE ok              ->      the shell is now the helper
     or NONCE no DIR WHY   ->      and the next directory is tried
     NONCE end             ->      there is none left
   The binary's room is taken before "send", so a full file system is found
   while nothing is under way. */
#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "host/chan.h"
#include "host/conn.h"
#include "host/push.h"

enum {
  NONCE = 16,       /* hexadecimal digits */
  LINE_MAX_ = 2048, /* of the shell's lines */
  NOISE_MAX = 65536 /* bytes of a talkative login script */
};

/* Without ' and !, which stand for themselves in no shell that a user may
   have.  $n nonce, $s size, $d our directory, which has the shell's pid in its
   name, $u our uid, $b where to look.  A helper removes its own directory; one
   whose process is gone, or that is older than an hour (pids come again),
   belongs to one that was killed. */
#define BASES "/run /var/tmp /dev/shm /root /tmp"
#define REMOVE_DEAD                                                            \
  "find $b -maxdepth 1 -type d -name \".chainlift.*\" -user $u "               \
  "-mmin +60 -exec rm -rf {} + 2>/dev/null; "                                  \
  "[ -d /proc/$$ ] && for p in $(find $b -maxdepth 1 -type d "                 \
  "-name \".chainlift.[0-9]*.*\" -user $u 2>/dev/null); do "                   \
  "x=${p##*/.chainlift.}; [ -d /proc/${x%%.*} ] || rm -rf $p; done; "

static const char push_script[]
    = "umask 077; d=; u=$(id -u); "
      "trap \"exit 1\" 1 2 13 15; "
      "trap \"case \\$d in */.chainlift.*) rm -rf \\\"\\$d\\\";; esac\" 0; "
      "for b in " BASES "; do "
      "[ -d $b ] && [ -w $b ] || continue; " REMOVE_DEAD
      "d=$(mktemp -d $b/.chainlift.$$.XXXXXXXXXX 2>/dev/null) || "
      "{ d=; echo $n no $b not writable; continue; }; "
      "h=$d/chainlift-remote; "
      "if head -c $s /dev/zero 2>/dev/null >$h; then :; else "
      "rm -rf $d; d=; echo $n no $b No space left; continue; fi; "
      "echo $n send $b || exit 1; "
      "head -c $s 1<>$h || exit 1; "
      "read x && [ \"$x\" = $n ] || exit 1; "
      "chmod 700 $h; "
      "e=$($h --selftest 2>&1 </dev/null); r=$?; "
      "if [ $r -eq 0 ]; then echo $n ok; exec $h --unlink $h; fi; "
      "rm -rf $d; d=; echo $n no $b $r \"$e\"; "
      "done; echo $n end; exit 126";

/* Processes by the name that the helper gives itself.  What dead ones left on
   the host goes, because the next helper may be pushed to another one.  Of a
   process that was killed the first thread is a zombie while others hang in the
   kernel, with what they read or write: then one of those is looked at. */
static const char probe_script[]
    = "u=$(id -u); b=; "
      "for x in " BASES "; do "
      "[ -d $x ] && [ -w $x ] && b=\"$b $x\"; done; "
      "[ -z \"$b\" ] || { " REMOVE_DEAD "}; "
      "state () { t=; while read k v w; do case $k in State:) t=$v; break;; "
      "esac; done 2>/dev/null <$1/status; }; "
      "read b </proc/sys/kernel/random/boot_id; echo boot $b; "
      "for p in /proc/[0-9]*; do "
      "c=; read c 2>/dev/null <$p/comm || continue; "
      "case $c in chainlift-remot*) ;; *) continue;; esac; "
      "for q in $p $p/task/[0-9]*; do state $q; "
      "case $t in \"\"|Z|X) ;; *) break;; esac; done; "
      "[ -n \"$t\" ] || continue; "
      "a=$(tr \"\\000\" \" \" 2>/dev/null <$q/cmdline); "
      "echo helper ${p#/proc/} $t ${a#* }; "
      "done";

/* A script as the command of an exec channel. */
static char *
shell_command (bool sudo, const char *assign, const char *script)
{
  return xasprintf ("exec %s/bin/sh -c '%s%s'", sudo ? "sudo -n " : "", assign,
                    script);
}

/* --- what went wrong -------------------------------------------------- */

static int
explain_sudo (struct conn *c, const char *errors, struct fault *f)
{
  const char *name = conn_name (c);
  const char *user = conn_user (c);

  if (strstr (errors, "password is required") != NULL
      || strstr (errors, "no askpass") != NULL)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: sudo wants a password of user %s; its sudoers "
                      "must have the NOPASSWD rules of sudoers.example",
                      name, user);
  if (strstr (errors, "have a tty") != NULL)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: sudo wants a terminal; add to its sudoers: "
                      "Defaults:%s !requiretty",
                      name, user);
  if (strstr (errors, "not in the sudoers") != NULL
      || strstr (errors, "not allowed to") != NULL
      || strstr (errors, "may not run sudo") != NULL)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: sudo does not let user %s run commands as "
                      "root; its sudoers must have the NOPASSWD rules of "
                      "sudoers.example",
                      name, user);
  if (strstr (errors, "sudo") != NULL && strstr (errors, "not found") != NULL)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: there is no sudo; install it, or log in as "
                      "root (ssh.user) with ssh.sudo off",
                      name);
  return 0;
}

int
push_explain (struct conn *c, bool sudo, int status, const char *errors,
              struct fault *f)
{
  if (sudo && explain_sudo (c, errors, f) < 0)
    return -1;
  if (status == 128 + 9)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: the helper was killed (SIGKILL)",
                      conn_name (c));
  return fault_set (
      f, FAULT_REMOTE, 0, "host %s: the helper ended with status %d%s%s",
      conn_name (c), status, errors[0] != '\0' ? ": " : "", errors);
}

/* The shell's end before it became the helper. */
static int
explain_end (struct conn *c, struct chan *ch, bool sudo, struct fault *f)
{
  const char *errors;
  int status = 0;

  if (chan_finish (ch, &status, f) < 0)
    return -1;
  errors = chan_stderr (ch);
  if (sudo && explain_sudo (c, errors, f) < 0)
    return -1;
  return fault_set (f, FAULT_REMOTE, 0,
                    "host %s: the shell of user %s ended with status %d before "
                    "it started the helper%s%s",
                    conn_name (c), conn_user (c), status,
                    errors[0] != '\0' ? ": " : "", errors);
}

/* WHYS holds "DIR: reason; ..." of all directories. */
static int
explain_refused (struct conn *c, const char *whys, struct fault *f)
{
  const char *next = "look at the host's log, or place the helper yourself and "
                     "set ssh.helper_path";

  if (strstr (whys, "Exec format error") != NULL)
    next = "the helper is for x86-64 hosts";
  else if (strstr (whys, "Operation not permitted") != NULL)
    next = "a policy (fapolicyd, IMA) refuses programs it does not know: place "
           "the helper with fapolicyd-cli --file add and set ssh.helper_path";
  else if (strstr (whys, "Permission denied") != NULL)
    next = "mount one of them without noexec, or place the helper elsewhere "
           "and set ssh.helper_path; with fapolicyd also run fapolicyd-cli "
           "--file add on it";
  else if (strstr (whys, "No space left") != NULL)
    next = "free a few MiB in one of them";
  else if (whys[0] == '\0')
    next = "make one of /run, /var/tmp, /dev/shm, /root, /tmp writable for the "
           "user";
  return fault_set (f, FAULT_REMOTE, 0,
                    "host %s: no directory lets the helper run%s%s; %s",
                    conn_name (c), whys[0] != '\0' ? ": " : "", whys, next);
}

/* --- push ------------------------------------------------------------- */

/* One line of the shell that begins with NONCE, without it; "" at the end of
   the stream.  Byte by byte: what follows belongs to the helper. */
static int
read_line (struct chan *ch, const char *nonce, char *line, size_t size,
           struct fault *f)
{
  size_t noise = 0;
  size_t used = 0;

  while (noise < NOISE_MAX) {
    char x;
    ssize_t n = chan_read (ch, &x, 1, f);

    if (n < 0)
      return -1;
    if (n == 0) {
      line[0] = '\0';
      return 0;
    }
    noise++;
    if (x != '\n') {
      if (used + 1 < size)
        line[used++] = x;
      continue;
    }
    line[used] = '\0';
    if (used > NONCE && strncmp (line, nonce, NONCE) == 0
        && line[NONCE] == ' ') {
      memmove (line, line + NONCE + 1, used - NONCE);
      return 0;
    }
    used = 0;
  }
  return fault_set (f, FAULT_REMOTE, 0,
                    "host %s: the shell of user %s prints too much at login; "
                    "keep its startup files silent",
                    conn_name (chan_conn (ch)), conn_user (chan_conn (ch)));
}

/* "DIR STATUS TEXT" becomes "DIR: TEXT" in WHYS. */
static void
note_refusal (struct buf *whys, char *text)
{
  char *why = strchr (text, ' ');
  char *colon;

  if (why == NULL)
    return;
  *why++ = '\0';
  /* A shell says "sh: 1: PATH: reason". */
  colon = strstr (why, "chainlift-remote: ");
  if (colon != NULL)
    why = strchr (colon, ':') + 2;
  buf_printf (whys, "%s%s: %s", whys->size > 0 ? "; " : "", text, why);
}

/* 1 = CH is the helper now, 0 = the shell has tried all (WHYS), -1. */
static int
converse (struct chan *ch, const char *nonce, const char *binary, size_t size,
          struct buf *whys, struct fault *f)
{
  char line[LINE_MAX_];

  for (;;) {
    if (read_line (ch, nonce, line, sizeof line, f) < 0)
      return -1;
    if (strcmp (line, "ok") == 0)
      return 1;
    if (line[0] == '\0' || strcmp (line, "end") == 0)
      return 0;
    if (strncmp (line, "no ", 3) == 0)
      note_refusal (whys, line + 3);
    else if (strncmp (line, "send ", 5) == 0
             && (chan_write (ch, binary, size, f) < 0
                 || chan_write (ch, nonce, NONCE, f) < 0
                 || chan_write (ch, "\n", 1, f) < 0))
      return -1;
  }
}

static char *
read_helper (const char *local, size_t *size, struct fault *f)
{
  struct fault why = FAULT_INIT;
  char *binary = fdio_slurp (AT_FDCWD, local, PUSH_HELPER_MAX, size, &why);

  if (binary == NULL)
    fault_set (f, FAULT_CONF, 0,
               "the helper that is pushed to the hosts: %s; is chainlift "
               "installed whole?",
               why.text);
  return binary;
}

int
push_start (struct conn *c, const char *local, bool sudo, struct chan **chan,
            struct fault *f)
{
  CLEANUP (chan_free) struct chan *ch = NULL;
  CLEANUP_FREE char *binary = NULL;
  CLEANUP_FREE char *assign = NULL;
  CLEANUP_FREE char *command = NULL;
  char nonce[NONCE + 1];
  struct buf whys;
  size_t size;
  int rc;

  binary = read_helper (local, &size, f);
  if (binary == NULL)
    return -1;
  uuid_hex (nonce, NONCE);
  assign = xasprintf ("n=%s; s=%zu; ", nonce, size);
  command = shell_command (sudo, assign, push_script);
  if (chan_open (c, command, &ch, f) < 0)
    return -1;
  buf_init (&whys, LINE_MAX_);
  rc = converse (ch, nonce, binary, size, &whys, f);
  buf_put_u8 (&whys, 0);
  if (rc == 0 && !buf_bad (&whys) && whys.size > 1)
    rc = explain_refused (c, (const char *)whys.data, f);
  else if (rc == 0)
    rc = explain_end (c, ch, sudo, f);
  buf_reset (&whys);
  if (rc < 0)
    return -1;
  *chan = steal_ptr (&ch);
  return 0;
}

/* --- placed by the administrator -------------------------------------- */

static bool
path_is_plain (const char *path)
{
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
                              "WXYZ0123456789/._-+";

  return path[0] == '/' && path[strspn (path, plain)] == '\0';
}

/* The bytes of the placed one must be those of LOCAL: another version would
   speak another protocol. */
static int
compare_placed (struct conn *c, const char *path, const char *local, bool sudo,
                struct fault *f)
{
  CLEANUP_FREE char *command
      = xasprintf ("exec %scat %s", sudo ? "sudo -n " : "", path);
  CLEANUP_FREE char *binary = NULL;
  CLEANUP_FREE char *placed = NULL;
  CLEANUP_FREE char *errors = NULL;
  size_t size;
  size_t placed_size;
  int status = 0;

  binary = read_helper (local, &size, f);
  if (binary == NULL
      || chan_run (c, command, PUSH_HELPER_MAX, &placed, &placed_size, &errors,
                   &status, f)
             < 0)
    return -1;
  if (sudo && explain_sudo (c, errors, f) < 0)
    return -1;
  if (status != 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: ssh.helper_path %s: status %d: %s; copy %s "
                      "there with mode 755",
                      conn_name (c), path, status, errors, local);
  if (size != placed_size || memcmp (binary, placed, size) != 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: ssh.helper_path %s is not the helper of this "
                      "version; copy %s there with mode 755",
                      conn_name (c), path, local);
  return 0;
}

int
push_start_placed (struct conn *c, const char *path, const char *local,
                   bool sudo, struct chan **chan, struct fault *f)
{
  const char *prefix = sudo ? "sudo -n " : "";
  CLEANUP_FREE char *test = xasprintf ("exec %s%s --selftest", prefix, path);
  CLEANUP_FREE char *start = xasprintf ("exec %s%s", prefix, path);
  CLEANUP_FREE char *out = NULL;
  CLEANUP_FREE char *errors = NULL;
  int status = 0;

  if (!path_is_plain (path))
    return fault_set (f, FAULT_CONF, 0,
                      "ssh.helper_path %s is not an absolute path of letters, "
                      "digits and ._-+ alone",
                      path);
  if (compare_placed (c, path, local, sudo, f) < 0
      || chan_run (c, test, LINE_MAX_, &out, NULL, &errors, &status, f) < 0)
    return -1;
  if (status != 0)
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: ssh.helper_path %s does not run (status %d: "
                      "%s); give it mode 755 on a file system without noexec, "
                      "and trust it with fapolicyd-cli --file add where "
                      "fapolicyd runs",
                      conn_name (c), path, status, errors);
  return chan_open (c, start, chan, f);
}

/* --- probe ------------------------------------------------------------ */

int
push_probe (struct conn *c, bool sudo, char **lines, struct fault *f)
{
  CLEANUP_FREE char *command = shell_command (sudo, "", probe_script);
  CLEANUP_FREE char *errors = NULL;
  char *out = NULL;
  int status = 0;

  if (chan_run (c, command, PUSH_PROBE_MAX, &out, NULL, &errors, &status, f)
      < 0)
    return -1;
  if (status != 0) {
    free (out);
    if (sudo && explain_sudo (c, errors, f) < 0)
      return -1;
    return fault_set (f, FAULT_REMOTE, 0,
                      "host %s: looking for helpers that still run ended with "
                      "status %d: %s",
                      conn_name (c), status, errors);
  }
  *lines = out;
  return 0;
}
