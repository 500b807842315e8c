/* SPDX-License-Identifier: Apache-2.0 */
/* Two facts decide: the lock, which the kernel keeps and drops with the
   process, and the text, which outlives it.

     lock taken by somebody       he lives: busy
     lock free, no text           free
     lock free, text of ours      this machine's holder died: free
     lock free, text of another   he may live where locks do not travel, or
     machine                      his machine is gone: busy, until lease_break

   At a proper end the file is unlinked, then the lock is dropped.  Who locks a
   file looks whether it still stands under its name, and else begins again, so
   two processes never have two files of one name; that a file was replaced
   while it was held is noticed the same way. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "repo/lease.h"
#include "repo/lines.h"
#include "repo/place.h"
#include "repo/point.h"

#define LEASE_MAGIC "chainlift-lease 1"
#define LEASE_VALUE_MAX 256
#define TOKEN_DIGITS 32
#define TAKE_TRIES 10
#define SAY_TRIES 100
#define SAY_POLL_MS 20

struct lease {
  const struct place *place;
  char name[UUID_SIZE];
  int fd;
  char *text; /* what we wrote into the file */
};

/* What a lock file says. */
struct holder {
  char host[LEASE_VALUE_MAX + 1];
  char machine[LEASE_VALUE_MAX + 1];
  char boot[LEASE_VALUE_MAX + 1];
  char pid[LEASE_VALUE_MAX + 1];
  char run[LEASE_VALUE_MAX + 1];
  char since[LEASE_VALUE_MAX + 1];
};

static const struct {
  const char *key;
  size_t offset;
} holder_keys[] = {
  { "host", offsetof (struct holder, host) },
  { "machine", offsetof (struct holder, machine) },
  { "boot", offsetof (struct holder, boot) },
  { "pid", offsetof (struct holder, pid) },
  { "run", offsetof (struct holder, run) },
  { "since", offsetof (struct holder, since) },
};
#define HOLDER_KEYS (sizeof holder_keys / sizeof holder_keys[0])

/* The first word of a small file of the system, "" when it is absent. */
static void
system_word (const char *path, char out[static LEASE_VALUE_MAX + 1])
{
  CLEANUP_CLOSE int fd = open (path, O_RDONLY | O_CLOEXEC);
  ssize_t n
      = fd < 0 ? 0 : fdio_pread_upto (fd, out, LEASE_VALUE_MAX, 0, path, NULL);

  out[n < 0 ? 0 : n] = '\0';
  out[strcspn (out, " \n")] = '\0';
}

static void
this_holder (struct holder *h, const char *run_id)
{
  memset (h, 0, sizeof *h);
  if (gethostname (h->host, LEASE_VALUE_MAX) < 0)
    h->host[0] = '\0';
  system_word ("/etc/machine-id", h->machine);
  system_word ("/proc/sys/kernel/random/boot_id", h->boot);
  snprintf (h->pid, sizeof h->pid, "%ld", (long)getpid ());
  snprintf (h->run, sizeof h->run, "%s", run_id);
  stamp_format (stamp_now (), h->since);
}

static char *
holder_text (const struct holder *h)
{
  char token[TOKEN_DIGITS + 1];
  struct buf b;

  uuid_hex (token, TOKEN_DIGITS);
  buf_init (&b, LEASE_TEXT_MAX);
  lines_begin (&b, LEASE_MAGIC);
  for (size_t i = 0; i < HOLDER_KEYS; i++)
    lines_put (&b, holder_keys[i].key, (const char *)h + holder_keys[i].offset);
  lines_put (&b, "token", token);
  lines_end (&b);
  buf_put_u8 (&b, 0);
  return (char *)b.data;
}

static int
holder_parse (const char *name, const char *text, struct holder *h,
              struct fault *f)
{
  struct lines l;
  int rc = lines_open (&l, name, text, strlen (text), LEASE_MAGIC,
                       LEASE_VALUE_MAX, f);

  memset (h, 0, sizeof *h);
  while (rc >= 0 && (rc = lines_next (&l, f)) == 1) {
    for (size_t i = 0; i < HOLDER_KEYS; i++) {
      if (strcmp (l.key, holder_keys[i].key) == 0)
        strcpy ((char *)h + holder_keys[i].offset, l.value);
    }
  }
  lines_close (&l);
  return rc;
}

/* The text of a lock file, NUL-terminated; "" when it is empty. */
static char *
read_text (int fd, const char *name, struct fault *f)
{
  CLEANUP_FREE char *text = xcalloc (1, LEASE_TEXT_MAX + 1);

  if (fdio_pread_upto (fd, text, LEASE_TEXT_MAX, 0, name, f) < 0)
    return NULL;
  return steal_ptr (&text);
}

/* As read_text, of a file that somebody has locked: he has the lock before his
   words stand, so they are waited for. */
static char *
read_held (int fd, const char *name, struct fault *f)
{
  const struct timespec poll = { .tv_nsec = SAY_POLL_MS * 1000000L };
  CLEANUP_FREE char *text = read_text (fd, name, f);
  struct holder h;

  for (int i = 0;
       i < SAY_TRIES && text != NULL && holder_parse (name, text, &h, NULL) < 0;
       i++) {
    nanosleep (&poll, NULL);
    free (text);
    text = read_text (fd, name, f);
  }
  return steal_ptr (&text);
}

static int
busy_text (const char *name, const char *text, const char *next,
           struct fault *f)
{
  struct holder h;

  if (holder_parse (name, text, &h, NULL) < 0)
    return fault_set (f, FAULT_BUSY, 0, "lease %s is held%s", name, next);
  return fault_set (f, FAULT_BUSY, 0,
                    "lease %s is held by process %s on host %s, run %s, "
                    "since %s%s",
                    name, h.pid, h.host, h.run, h.since, next);
}

static int
lock_failed (const struct place *p, const char *name, int err, struct fault *f)
{
  return fault_set (f, FAULT_IO, err,
                    "lease %s: file locks do not work on the file system of "
                    "%s; put the repository on one that has them (NFS: version "
                    "4, or 3 with its lock service)",
                    name, place_path (p));
}

static int
open_file (const struct place *p, const char *name, int flags, struct fault *f)
{
  int fd;

  if (strcmp (name, LEASE_REPOSITORY) != 0 && !uuid_valid (name))
    return fault_set (f, FAULT_USAGE, 0,
                      "\"%s\" is no lease: give a VM id or \"%s\"", name,
                      LEASE_REPOSITORY);
  fd = openat (place_folder_fd (p, PLACE_LEASES), name,
               flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0)
    return fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_IO, errno,
                      "lease %s of repository %s: open", name, place_path (p));
  return fd;
}

/* Does FD still stand under NAME?  1, 0, -1. */
static int
same_file (const struct place *p, const char *name, int fd, struct fault *f)
{
  struct stat is;
  struct stat at;

  if (fstat (fd, &is) < 0)
    return fault_set (f, FAULT_IO, errno, "lease %s: stat", name);
  if (fstatat (place_folder_fd (p, PLACE_LEASES), name, &at,
               AT_SYMLINK_NOFOLLOW)
      < 0) {
    if (errno == ENOENT)
      return 0;
    return fault_set (f, FAULT_IO, errno, "lease %s: stat", name);
  }
  return is.st_dev == at.st_dev && is.st_ino == at.st_ino;
}

/* Is NAME locked by anybody, seen by a descriptor that has no lock?  A file
   system that says yes to every lock answers no even when we hold one.
   1, 0, -1. */
static int
seen_locked (const struct place *p, const char *name, struct fault *f)
{
  struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  CLEANUP_CLOSE int fd = open_file (p, name, O_RDWR, f);

  if (fd < 0)
    return -1;
  if (fcntl (fd, F_OFD_GETLK, &whole) < 0)
    return lock_failed (p, name, errno, f);
  return whole.l_type != F_UNLCK;
}

/* Open and lock NAME.  1; 0 when somebody has it (*FD is open); -1. */
static int
open_locked (const struct place *p, const char *name, int *fd, struct fault *f)
{
  int rc;

  for (int i = 0; i < TAKE_TRIES; i++) {
    *fd = open_file (p, name, O_RDWR | O_CREAT, f);
    if (*fd < 0)
      return -1;
    rc = fdio_lock (*fd, 0, 0);
    if (rc <= 0)
      return rc == 0 ? 0 : lock_failed (p, name, errno, f);
    rc = same_file (p, name, *fd, f);
    if (rc != 0)
      return rc;
    close (*fd);
    *fd = -1;
  }
  return fault_set (f, FAULT_BUSY, 0, "lease %s: its file keeps changing",
                    name);
}

/* The lock is ours; may we have the lease, given what the file says? */
static int
check_text (const char *name, const char *text, const struct holder *we,
            struct fault *f)
{
  struct holder was;

  if (text[0] == '\0')
    return 0;
  if (holder_parse (name, text, &was, NULL) < 0)
    return fault_set (f, FAULT_BUSY, 0,
                      "lease %s: its file is damaged, it may belong to another "
                      "machine; if no other machine is at work here, "
                      "chainlift unlock --force removes it",
                      name);
  if (was.boot[0] != '\0' && strcmp (was.boot, we->boot) == 0)
    return 0;
  if (was.machine[0] != '\0' && strcmp (was.machine, we->machine) == 0
      && strcmp (was.host, we->host) == 0)
    return 0;
  return busy_text (name, text,
                    "; that is another machine: if it is gone for good, "
                    "chainlift unlock --force removes it",
                    f);
}

static int
write_text (int fd, const char *name, const char *text, struct fault *f)
{
  size_t size = strlen (text);

  if (size > 0 && fdio_pwrite_full (fd, text, size, 0, name, f) < 0)
    return -1;
  if (ftruncate (fd, (off_t)size) < 0)
    return fault_set (f, FAULT_IO, errno, "lease %s: truncate", name);
  return fdio_fsync (fd, name, f);
}

static int
take_fd (const struct place *p, const char *name, const struct holder *we,
         int *fd, struct fault *f)
{
  CLEANUP_FREE char *text = NULL;
  int locked = open_locked (p, name, fd, f);

  if (locked < 0)
    return -1;
  text = locked == 0 ? read_held (*fd, name, f) : read_text (*fd, name, f);
  if (text == NULL)
    return -1;
  if (locked == 0)
    return busy_text (name, text, ": wait until that run has ended", f);
  locked = seen_locked (p, name, f);
  if (locked == 0)
    return lock_failed (p, name, 0, f);
  return locked < 0 ? -1 : check_text (name, text, we, f);
}

int
lease_take (const struct place *p, const char *name, const char *run_id,
            struct lease **out, struct fault *f)
{
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_FREE char *text = NULL;
  struct holder we;
  struct lease *l;

  *out = NULL;
  this_holder (&we, run_id);
  if (take_fd (p, name, &we, &fd, f) < 0)
    return -1;
  text = holder_text (&we);
  if (write_text (fd, name, text, f) < 0)
    return -1;
  l = xcalloc (1, sizeof *l);
  l->place = p;
  strcpy (l->name, name);
  l->fd = steal_fd (&fd);
  l->text = steal_ptr (&text);
  *out = l;
  return 0;
}

int
lease_try (const struct place *p, const char *name, struct fault *f)
{
  struct fault local = FAULT_INIT;
  CLEANUP_CLOSE int fd = open_file (p, name, O_RDWR, &local);
  CLEANUP_FREE char *text = NULL;
  struct holder we;
  int locked;

  if (fd < 0)
    return local.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &local);
  locked = seen_locked (p, name, f);
  if (locked < 0)
    return -1;
  text = locked == 1 ? read_held (fd, name, f) : read_text (fd, name, f);
  if (text == NULL)
    return -1;
  if (locked == 1)
    return busy_text (name, text, ": wait until that run has ended", f);
  this_holder (&we, "");
  return check_text (name, text, &we, f);
}

int
lease_check (const struct lease *l, struct fault *f)
{
  CLEANUP_FREE char *text = NULL;
  int rc = same_file (l->place, l->name, l->fd, f);

  if (rc == 1)
    rc = seen_locked (l->place, l->name, f);
  if (rc < 0)
    return -1;
  /* Somebody has it locked; that it is us, our own lock call shows. */
  if (rc == 0 || fdio_lock (l->fd, 0, 0) != 1)
    return fault_set (f, FAULT_BUSY, 0,
                      "lease %s was lost: its file was replaced or its lock "
                      "is gone; nothing more is changed",
                      l->name);
  text = read_text (l->fd, l->name, f);
  if (text == NULL)
    return -1;
  if (strcmp (text, l->text) != 0)
    return busy_text (l->name, text, "; ours was broken", f);
  return 0;
}

void
lease_drop (struct lease *l)
{
  if (l == NULL)
    return;
  /* A file that cannot be removed costs nothing here: the next holder on this
     machine sees that its process is gone. */
  if (lease_check (l, NULL) == 0)
    (void)unlinkat (place_folder_fd (l->place, PLACE_LEASES), l->name, 0);
  close (l->fd);
  free (l->text);
  free (l);
}

const char *
lease_name (const struct lease *l)
{
  return l->name;
}

int
lease_holder (const struct place *p, const char *name, char **text,
              bool *locked, struct fault *f)
{
  struct fault local = FAULT_INIT;
  CLEANUP_CLOSE int fd = open_file (p, name, O_RDWR, &local);
  CLEANUP_FREE char *found = NULL;
  int rc;

  *text = NULL;
  *locked = false;
  if (fd < 0)
    return local.code == FAULT_NOTFOUND ? 0 : fault_copy (f, &local);
  rc = seen_locked (p, name, f);
  found = rc < 0 ? NULL : read_text (fd, name, f);
  if (found == NULL)
    return -1;
  *locked = rc == 1;
  if (found[0] != '\0')
    *text = steal_ptr (&found);
  return 0;
}

int
lease_break (const struct place *p, const char *name, struct fault *f)
{
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_FREE char *text = NULL;
  int rc = open_locked (p, name, &fd, f);

  if (rc < 0)
    return -1;
  if (rc == 1)
    return write_text (fd, name, "", f);
  text = read_text (fd, name, f);
  if (text == NULL)
    return -1;
  return busy_text (name, text, "; that process lives, end it first", f);
}
