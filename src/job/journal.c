/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "job/journal.h"

enum {
  LINE_SIZE_MAX = 4096, /* of a line that is torn, at most */
  APPEND_WAIT_MS = 60000,
  APPEND_POLL_MS = 10,
};

struct journal {
  pthread_mutex_t lock; /* guards all below */
  int dirfd;            /* borrowed */
  int fd;               /* -1 before the first intention */
  unsigned count;
  char run_id[JOURNAL_ID_MAX];
};

struct journal *
journal_new (int dirfd, const char *run_id)
{
  struct journal *j = xcalloc (1, sizeof *j);

  pthread_mutex_init (&j->lock, NULL);
  j->dirfd = dirfd;
  j->fd = -1;
  snprintf (j->run_id, sizeof j->run_id, "%s", run_id);
  return j;
}

/* Wait until nobody else appends.  A process that was stopped in the middle
   must not hold up all others for ever. */
static int
lock_append (int fd, const char *name, struct fault *f)
{
  const struct timespec poll = { .tv_nsec = APPEND_POLL_MS * 1000000L };

  for (int i = 0; i < APPEND_WAIT_MS / APPEND_POLL_MS; i++) {
    int rc = fdio_lock (fd, JOURNAL_APPEND, 1);

    if (rc < 0)
      return fault_set (f, FAULT_IO, errno, "lock journal %s", name);
    if (rc == 1)
      return 0;
    nanosleep (&poll, NULL);
  }
  return fault_set (f, FAULT_BUSY, 0,
                    "journal %s: another process has been writing to it for "
                    "%d s: see whether it was stopped",
                    name, APPEND_WAIT_MS / 1000);
}

/* Cut off what a crash or a full disk left of a line; *END: where the next one
   goes. */
static int
cut_torn (int fd, const char *name, off_t *end, struct fault *f)
{
  char tail[LINE_SIZE_MAX];
  const char *last;
  struct stat st;
  size_t size;

  if (fstat (fd, &st) < 0)
    return fault_set (f, FAULT_IO, errno, "stat journal %s", name);
  *end = st.st_size;
  if (st.st_size == 0)
    return 0;
  size = st.st_size < LINE_SIZE_MAX ? (size_t)st.st_size : LINE_SIZE_MAX;
  if (fdio_pread_full (fd, tail, size, (uint64_t)st.st_size - size, name, f)
      < 0)
    return -1;
  last = memrchr (tail, '\n', size);
  if (last == NULL)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "journal %s: its last %zu bytes hold no whole line", name,
                      size);
  *end -= tail + size - (last + 1);
  if (*end < st.st_size && ftruncate (fd, *end) < 0)
    return fault_set (f, FAULT_IO, errno, "cut journal %s", name);
  return 0;
}

/* With the append lock held. */
static int
append_locked (int fd, const char *name, const char *line, struct fault *f)
{
  off_t end;

  if (cut_torn (fd, name, &end, f) < 0)
    return -1;
  if (fdio_write_full (fd, line, strlen (line), name, f) == 0
      && fdio_fsync (fd, name, f) == 0)
    return 0;
  /* What was not promised shall not stand there. */
  if (ftruncate (fd, end) < 0)
    return fault_prefix (f, "a line may be left in journal %s", name);
  return fault_prefix (f, "journal");
}

static int
append (struct journal *j, const char *line, struct fault *f)
{
  int rc;

  if (lock_append (j->fd, j->run_id, f) < 0)
    return -1;
  rc = append_locked (j->fd, j->run_id, line, f);
  fdio_unlock (j->fd, JOURNAL_APPEND, 1);
  return rc;
}

static int
write_head (struct journal *j, struct fault *f)
{
  char stamp[STAMP_SIZE];
  char host[65] = "-";
  CLEANUP_FREE char *line = NULL;

  if (fdio_lock (j->fd, JOURNAL_LIFE, 1) != 1)
    return fault_set (f, FAULT_IO, errno, "lock journal %s", j->run_id);
  stamp_format (stamp_now (), stamp);
  if (gethostname (host, sizeof host - 1) < 0)
    snprintf (host, sizeof host, "-");
  line = xasprintf ("chainlift-journal 1 %s %s %s %ld\n", j->run_id, stamp,
                    host, (long)getpid ());
  if (append (j, line, f) < 0)
    return -1;
  return fdio_sync_dir (j->dirfd, "journal", f);
}

static int
create (struct journal *j, struct fault *f)
{
  j->fd = openat (j->dirfd, j->run_id,
                  O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (j->fd < 0)
    return fault_set (f, FAULT_IO, errno, "create journal %s", j->run_id);
  if (write_head (j, f) == 0)
    return 0;
  unlinkat (j->dirfd, j->run_id, 0);
  close (j->fd);
  j->fd = -1;
  return -1;
}

/* A copy of TEXT that fits on a line. */
static void
plain_text (const char *text, char out[static JOURNAL_TEXT_MAX])
{
  snprintf (out, JOURNAL_TEXT_MAX, "%s", text);
  for (unsigned char *p = (unsigned char *)out; *p != '\0'; p++) {
    if (*p < 0x20 || *p == 0x7f)
      *p = ' ';
  }
}

int
journal_intend (struct journal *j, const char *kind, const char *vm_id,
                const char *object_id, const char *text, unsigned *number,
                struct fault *f)
{
  SCOPED_LOCK (&j->lock);
  CLEANUP_FREE char *line = NULL;
  char plain[JOURNAL_TEXT_MAX];

  if (j->fd < 0 && create (j, f) < 0)
    return -1;
  plain_text (text, plain);
  /* Also when it fails: a number never stands for two. */
  j->count++;
  line = xasprintf ("+ %u %s %s %s %s\n", j->count, kind,
                    vm_id != NULL ? vm_id : "-",
                    object_id != NULL ? object_id : "-", plain);
  if (append (j, line, f) < 0)
    return -1;
  *number = j->count;
  return 0;
}

int
journal_exists (struct journal *j, unsigned number, const char *object_id,
                struct fault *f)
{
  SCOPED_LOCK (&j->lock);
  CLEANUP_FREE char *line = xasprintf ("= %u %s\n", number, object_id);

  return append (j, line, f);
}

int
journal_settle (struct journal *j, unsigned number, struct fault *f)
{
  SCOPED_LOCK (&j->lock);
  CLEANUP_FREE char *line = xasprintf ("- %u\n", number);

  return append (j, line, f);
}

static struct journal_entry *
find (struct journal_list *list, size_t first, unsigned number)
{
  for (size_t i = first; i < list->count; i++) {
    if (list->entries[i].number == number)
      return &list->entries[i];
  }
  return NULL;
}

/* One line after the first; FIRST is where this file's entries begin. */
static int
parse_line (const char *line, const char *run_id, size_t first,
            struct journal_list *list, struct fault *f)
{
  struct journal_entry e = { .number = 0 };
  struct journal_entry *known;
  int text = 0;

  if (sscanf (line, "+ %u %63s %63s %63s %n", &e.number, e.kind, e.vm_id,
              e.object_id, &text)
          == 4
      && text > 0) {
    snprintf (e.run_id, sizeof e.run_id, "%s", run_id);
    snprintf (e.text, sizeof e.text, "%s", line + text);
    list->entries
        = xreallocarray (list->entries, list->count + 1, sizeof *list->entries);
    list->entries[list->count++] = e;
    return 0;
  }
  if (sscanf (line, "= %u %63s", &e.number, e.object_id) == 2
      && (known = find (list, first, e.number)) != NULL) {
    memcpy (known->object_id, e.object_id, sizeof known->object_id);
    known->exists = true;
    return 0;
  }
  if (sscanf (line, "- %u", &e.number) == 1
      && (known = find (list, first, e.number)) != NULL) {
    known->settled = true;
    return 0;
  }
  return fault_set (f, FAULT_CORRUPT, 0, "journal: line \"%.80s\" is malformed",
                    line);
}

/* Remove the settled entries from FIRST on. */
static void
drop_settled (struct journal_list *list, size_t first)
{
  size_t kept = first;

  for (size_t i = first; i < list->count; i++) {
    if (!list->entries[i].settled)
      list->entries[kept++] = list->entries[i];
  }
  list->count = kept;
}

int
journal_parse (const char *text, struct journal_list *list, struct fault *f)
{
  size_t first = list->count;
  char run_id[JOURNAL_ID_MAX] = "";
  const char *end;

  for (const char *p = text; (end = strchr (p, '\n')) != NULL; p = end + 1) {
    CLEANUP_FREE char *line = xstrndup (p, (size_t)(end - p));

    if (run_id[0] == '\0') {
      if (sscanf (line, "chainlift-journal 1 %63s", run_id) != 1)
        return fault_set (f, FAULT_CORRUPT, 0,
                          "journal: it does not begin with "
                          "chainlift-journal 1");
    }
    else if (parse_line (line, run_id, first, list, f) < 0)
      return -1;
  }
  drop_settled (list, first);
  return 0;
}

static int
read_one (int dirfd, const char *name, struct journal_list *list,
          struct fault *f)
{
  struct fault local = FAULT_INIT;
  CLEANUP_FREE char *text
      = fdio_slurp (dirfd, name, JOURNAL_FILE_MAX, NULL, &local);

  if (text == NULL) {
    if (local.code == FAULT_NOTFOUND)
      return 0;
    fault_copy (f, &local);
    return fault_prefix (f, "journal %s", name);
  }
  if (journal_parse (text, list, f) < 0)
    return fault_prefix (f, "journal %s", name);
  return 0;
}

int
journal_read_all (int dirfd, const char *except, struct journal_list *list,
                  struct fault *f)
{
  int fd = openat (dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir (fd);
  struct dirent *entry;
  int rc = 0;

  if (dir == NULL) {
    if (fd >= 0)
      close (fd);
    return fault_set (f, FAULT_IO, errno, "read the directory journal");
  }
  while (rc == 0 && (entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] != '.'
        && (except == NULL || strcmp (entry->d_name, except) != 0))
      rc = read_one (dirfd, entry->d_name, list, f);
  }
  closedir (dir);
  return rc;
}

/* Remove the journal NAME when all in it is settled; both locks are held. */
static int
remove_settled (int dirfd, const char *name, struct fault *f)
{
  struct journal_list list = { .count = 0 };
  int rc = read_one (dirfd, name, &list, f);

  if (rc == 0 && list.count == 0 && unlinkat (dirfd, name, 0) < 0
      && errno != ENOENT)
    rc = fault_set (f, FAULT_IO, errno, "remove journal %s", name);
  journal_list_reset (&list);
  return rc;
}

int
journal_settle_other (int dirfd, const char *run_id, unsigned number,
                      struct fault *f)
{
  CLEANUP_FREE char *line = xasprintf ("- %u\n", number);
  CLEANUP_CLOSE int fd
      = openat (dirfd, run_id, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  int dead;

  if (fd < 0 && errno == ENOENT)
    return 0;
  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "open journal %s", run_id);
  if (lock_append (fd, run_id, f) < 0
      || append_locked (fd, run_id, line, f) < 0)
    return -1;
  dead = fdio_lock (fd, JOURNAL_LIFE, 1);
  if (dead < 0)
    return fault_set (f, FAULT_IO, errno, "lock journal %s", run_id);
  return dead == 1 ? remove_settled (dirfd, run_id, f) : 0;
}

/* Only one with its first line, whose run has therefore held the lock of its
   life; one that is being made is not touched. */
static void
sweep_one (int dirfd, const char *name)
{
  struct fault f = FAULT_INIT;
  struct journal_list list = { .count = 0 };
  CLEANUP_FREE char *text
      = fdio_slurp (dirfd, name, JOURNAL_FILE_MAX, NULL, NULL);
  CLEANUP_CLOSE int fd
      = text == NULL || strchr (text, '\n') == NULL
                || journal_parse (text, &list, NULL) < 0 || list.count > 0
            ? -1
            : openat (dirfd, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);

  journal_list_reset (&list);
  if (fd >= 0 && fdio_lock (fd, JOURNAL_APPEND, 1) == 1
      && fdio_lock (fd, JOURNAL_LIFE, 1) == 1
      && remove_settled (dirfd, name, &f) < 0)
    log_warn ("%s", f.text);
}

int
journal_sweep (int dirfd, const char *except, struct fault *f)
{
  CLEANUP_CLOSE int copy
      = openat (dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = copy < 0 ? NULL : fdopendir (copy);
  struct dirent *entry;

  if (dir == NULL)
    return fault_set (f, FAULT_IO, errno, "read the directory journal");
  (void)steal_fd (&copy);
  while ((entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] != '.' && strcmp (entry->d_name, except) != 0)
      sweep_one (dirfd, entry->d_name);
  }
  closedir (dir);
  return 0;
}

void
journal_free (struct journal *j)
{
  struct fault f = FAULT_INIT;

  if (j == NULL)
    return;
  if (j->fd >= 0) {
    if (lock_append (j->fd, j->run_id, &f) < 0
        || remove_settled (j->dirfd, j->run_id, &f) < 0)
      log_warn ("%s", f.text);
    close (j->fd);
  }
  pthread_mutex_destroy (&j->lock);
  free (j);
}

void
journal_list_reset (struct journal_list *list)
{
  free (list->entries);
  *list = (struct journal_list){ .count = 0 };
}
