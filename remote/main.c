/* SPDX-License-Identifier: Apache-2.0 */
/* chainlift-remote: the helper that the controller pushes to a hypervisor and
   talks to over SSH.  Its man page is its protocol: chainlift-remote(8),
   chainlift-wire(7). */
#include <config.h>

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "remote/guard.h"
#include "remote/session.h"
#include "wire/digest.h"

#define NAME "chainlift-remote " PACKAGE_VERSION

static int
usage (FILE *out, int status)
{
  fputs ("usage: chainlift-remote [--unlink PATH]\n"
         "       chainlift-remote --selftest | --version\n",
         out);
  return status;
}

/* Does code of ours run here as it was built to? */
static int
selftest (void)
{
  static const char known[] = "99aa06d3014798d86001c324468d497f";
  char text[2 * DIGEST_SIZE + 1];
  uint8_t digest[DIGEST_SIZE];

  digest_bytes ("", 0, digest);
  digest_format (digest, text);
  if (strcmp (text, known) != 0 || guard_now_ms () == 0)
    return FAULT_INTERNAL;
  puts (NAME);
  return fflush (stdout) == 0 ? 0 : FAULT_IO;
}

/* Is PATH the file that this process was started from? */
static bool
is_self (const char *path)
{
  struct stat self;
  struct stat st;

  return stat ("/proc/self/exe", &self) == 0 && lstat (path, &st) == 0
         && S_ISREG (st.st_mode) && self.st_dev == st.st_dev
         && self.st_ino == st.st_ino;
}

/* Remove our own file, and the directory that was made for it, before anything
   else: whatever happens to us, nothing stays on the host. */
static bool
unlink_self (const char *path)
{
  char dir[PATH_MAX];
  struct stat st;
  char *slash;

  if (path[0] != '/' || strlen (path) >= sizeof dir || !is_self (path)
      || unlink (path) < 0)
    return false;
  strcpy (dir, path);
  slash = strrchr (dir, '/');
  *slash = '\0';
  /* private: ours alone; rmdir takes only an empty one */
  return slash != dir && lstat (dir, &st) == 0 && st.st_uid == geteuid ()
         && (st.st_mode & 0777) == 0700 && rmdir (dir) == 0;
}

static int
work (struct guard *g, void *opaque)
{
  const bool *unlinked = opaque;

  return session_run (g, *unlinked);
}

int
main (int argc, char **argv, char **env)
{
  bool unlinked = false;

  if (argc == 2 && strcmp (argv[1], "--version") == 0)
    return puts (NAME) < 0 || fflush (stdout) < 0 ? FAULT_IO : 0;
  if (argc == 2 && strcmp (argv[1], "--selftest") == 0)
    return selftest ();
  if (argc == 2 && strcmp (argv[1], "--help") == 0)
    return usage (stdout, 0);
  if (argc == 3 && strcmp (argv[1], "--unlink") == 0)
    unlinked = unlink_self (argv[2]);
  else if (argc != 1)
    return usage (stderr, FAULT_USAGE);
  guard_name (argc, argv, env);
  return guard_run (work, &unlinked);
}
