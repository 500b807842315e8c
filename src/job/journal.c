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
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "job/journal.h"

struct journal {
  pthread_mutex_t lock; /* guards all below */
  int dirfd;            /* borrowed */
  int fd;               /* -1 before the first intention */
  unsigned count;
  unsigned open;
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

void
journal_free (struct journal *j)
{
  if (j == NULL)
    return;
  if (j->fd >= 0) {
    if (j->open == 0)
      unlinkat (j->dirfd, j->run_id, 0);
    close (j->fd);
  }
  pthread_mutex_destroy (&j->lock);
  free (j);
}

static int
append (struct journal *j, const char *line, struct fault *f)
{
  if (fdio_write_full (j->fd, line, strlen (line), "the journal", f) < 0)
    return -1;
  return fdio_fsync (j->fd, "the journal", f);
}

static int
create (struct journal *j, struct fault *f)
{
  char stamp[STAMP_SIZE];
  char host[65] = "-";
  CLEANUP_FREE char *line = NULL;

  j->fd = openat (j->dirfd, j->run_id,
                  O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (j->fd < 0)
    return fault_set (f, FAULT_IO, errno, "create journal %s", j->run_id);
  stamp_format (stamp_now (), stamp);
  if (gethostname (host, sizeof host - 1) < 0)
    snprintf (host, sizeof host, "-");
  line = xasprintf ("chainlift-journal 1 %s %s %s %ld\n", j->run_id, stamp,
                    host, (long)getpid ());
  if (append (j, line, f) < 0)
    return -1;
  return fdio_sync_dir (j->dirfd, "journal", f);
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
  line = xasprintf ("+ %u %s %s %s %s\n", j->count + 1, kind,
                    vm_id != NULL ? vm_id : "-",
                    object_id != NULL ? object_id : "-", plain);
  if (append (j, line, f) < 0)
    return -1;
  *number = ++j->count;
  j->open++;
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

  if (append (j, line, f) < 0)
    return -1;
  j->open--;
  return 0;
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

int
journal_settle_other (int dirfd, const char *run_id, unsigned number,
                      struct fault *f)
{
  CLEANUP_FREE char *line = xasprintf ("- %u\n", number);
  struct journal_list list = { .count = 0 };
  CLEANUP_CLOSE int fd
      = openat (dirfd, run_id, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  int rc;

  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "open journal %s", run_id);
  if (fdio_write_full (fd, line, strlen (line), run_id, f) < 0
      || fdio_fsync (fd, run_id, f) < 0)
    return -1;
  rc = read_one (dirfd, run_id, &list, f);
  if (rc == 0 && list.count == 0 && unlinkat (dirfd, run_id, 0) < 0)
    rc = fault_set (f, FAULT_IO, errno, "remove journal %s", run_id);
  journal_list_reset (&list);
  return rc;
}

void
journal_list_reset (struct journal_list *list)
{
  free (list->entries);
  *list = (struct journal_list){ .count = 0 };
}
