/* SPDX-License-Identifier: Apache-2.0 */
/* chainlift-remote: the helper that the controller pushes to a hypervisor and
   talks to over SSH.  Its man page is its protocol: chainlift-remote(8),
   chainlift-wire(7). */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "remote/guard.h"
#include "remote/session.h"
#include "wire/digest.h"

#define SELF "/proc/self/exe"
#define SELF_SIZE_MAX ((size_t)16 * 1024 * 1024)

static int
usage (FILE *out, int status)
{
  fputs ("usage: chainlift-remote [--pushed]\n"
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
  puts ("chainlift-remote " PACKAGE_VERSION);
  return fflush (stdout) == 0 ? 0 : FAULT_IO;
}

/* The digest of our own file tells the controller whether the one that an
   administrator has placed is the one that it knows. */
static int
version (void)
{
  struct fault f = FAULT_INIT;
  CLEANUP_CLOSE int fd = open (SELF, O_RDONLY | O_CLOEXEC);
  CLEANUP_FREE void *data = try_calloc (1, SELF_SIZE_MAX, SELF, &f);
  char text[2 * DIGEST_SIZE + 1];
  uint8_t digest[DIGEST_SIZE];
  ssize_t n;

  if (fd < 0)
    fault_set (&f, FAULT_IO, errno, "open %s", SELF);
  n = f.code != FAULT_NONE
          ? -1
          : fdio_pread_upto (fd, data, SELF_SIZE_MAX, 0, SELF, &f);
  if (n < 0) {
    fprintf (stderr, "chainlift-remote: %s\n", f.text);
    return (int)f.code;
  }
  digest_bytes (data, (size_t)n, digest);
  digest_format (digest, text);
  printf ("chainlift-remote " PACKAGE_VERSION " %s\n", text);
  return fflush (stdout) == 0 ? 0 : FAULT_IO;
}

/* Remove our own file, and the directory that was made for it, before anything
   else: whatever happens to us, nothing stays on the host. */
static bool
unlink_self (void)
{
  char path[PATH_MAX];
  struct stat st;
  char *slash;
  ssize_t n = readlink (SELF, path, sizeof path - 1);

  if (n <= 0)
    return false;
  path[n] = '\0';
  slash = strrchr (path, '/');
  if (path[0] != '/' || slash == path || unlink (path) < 0)
    return false;
  *slash = '\0';
  /* private: ours alone; rmdir takes only an empty one */
  return lstat (path, &st) == 0 && st.st_uid == geteuid ()
         && (st.st_mode & 0777) == 0700 && rmdir (path) == 0;
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
    return version ();
  if (argc == 2 && strcmp (argv[1], "--selftest") == 0)
    return selftest ();
  if (argc == 2 && strcmp (argv[1], "--help") == 0)
    return usage (stdout, 0);
  if (argc == 2 && strcmp (argv[1], "--pushed") == 0)
    unlinked = unlink_self ();
  else if (argc != 1)
    return usage (stderr, FAULT_USAGE);
  guard_name (argc, argv, env);
  return guard_run (work, &unlinked);
}
