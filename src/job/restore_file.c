/* SPDX-License-Identifier: Apache-2.0 */
/* One disk of a point into a file or a pipe, front to back: every offset of
   the qcow2 form is known from the map ahead. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "conf/settings.h"
#include "job/flat.h"
#include "job/observer.h"
#include "job/phase.h"
#include "job/restore.h"
#include "repo/manifest.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/reader.h"
#include "wire/digest.h"

#define PROGRESS_MS 200

struct sink {
  const struct observer *observer;
  struct observer_progress progress;
  uint64_t reported_ms;
  struct reader *reader;
  struct flat *flat;
  int fd;
  bool seekable; /* holes are left out */
  const char *path;
  uint64_t at;    /* of a pipe: bytes written */
  uint8_t *piece; /* FLAT_PIECE bytes */
};

/* SIZE bytes at OFFSET of the output; a pipe gets zeros for what was left
   out. */
static int
put (struct sink *s, uint64_t offset, const void *data, size_t size,
     struct fault *f)
{
  static const uint8_t zeros[DIGEST_BLOCK];

  if (s->seekable)
    return fdio_pwrite_full (s->fd, data, size, offset, s->path, f);
  while (s->at < offset) {
    uint64_t gap = offset - s->at;
    size_t part = gap < sizeof zeros ? (size_t)gap : sizeof zeros;

    if (cancel_check (f) < 0
        || fdio_write_full (s->fd, zeros, part, s->path, f) < 0)
      return -1;
    s->at += part;
  }
  s->at += size;
  return fdio_write_full (s->fd, data, size, s->path, f);
}

static void
report (struct sink *s, uint64_t bytes)
{
  uint64_t now = stamp_mono_ms ();

  s->progress.bytes_done += bytes;
  if (s->observer->progress == NULL || now < s->reported_ms + PROGRESS_MS)
    return;
  s->reported_ms = now;
  s->observer->progress (s->observer->opaque, &s->progress);
}

/* flat_fn */
static int
copy_piece (const struct flat_piece *piece, void *opaque, struct fault *f)
{
  struct sink *s = opaque;

  if (cancel_check (f) < 0)
    return -1;
  if (piece->kind == FLAT_HOLE_RAW)
    return 0;
  if (flat_read (s->flat, piece, s->piece, f) < 0
      || put (s, piece->at, s->piece, (size_t)piece->size, f) < 0)
    return -1;
  if (piece->kind == FLAT_DATA) {
    report (s, piece->length);
    phase_stop (PHASE_WRITE);
  }
  return 0;
}

/* The output has its full size, and is on stable storage. */
static int
put_end (struct sink *s, struct fault *f)
{
  uint64_t size = flat_size (s->flat);

  if (!s->seekable)
    return put (s, size, "", 0, f);
  if (ftruncate (s->fd, (off_t)size) < 0)
    return fault_set (f, FAULT_IO, errno, "set the size of %s", s->path);
  return fdio_fsync (s->fd, s->path, f);
}

static int
copy_all (struct sink *s, bool qcow2, struct fault *f)
{
  struct flat_params params = { .cow = qcow2 };

  if (flat_new (s->reader, &params, &s->flat, f) < 0)
    return -1;
  s->progress.bytes_total = flat_data (s->flat);
  phase_stop (PHASE_WRITE);
  if (flat_walk (s->flat, 0, copy_piece, s, f) < 0)
    return -1;
  return put_end (s, f);
}

static int
open_output (const char *to, struct fault *f)
{
  int fd;

  if (strcmp (to, "-") == 0) {
    fd = fcntl (STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
      return fault_set (f, FAULT_IO, errno, "write to stdout");
    return fd;
  }
  fd = open (to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 && errno == EEXIST)
    return fault_set (f, FAULT_USAGE, 0,
                      "%s exists already: nothing is overwritten, choose "
                      "another file",
                      to);
  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "create %s", to);
  return fd;
}

/* The disk that the user means, or NULL with what there is to choose from. */
static const struct manifest_disk *
find_disk (const struct point *point, const char *name, struct fault *f)
{
  const struct manifest *m = point->manifest;
  const struct manifest_disk *disk = manifest_find_disk (m, name);
  bool several = false;

  if (disk != NULL)
    return disk;
  for (size_t i = 0; i < m->disk_count; i++)
    several = several
              || (m->disks[i].alias != NULL
                  && strcmp (m->disks[i].alias, name) == 0);
  if (several)
    fault_set (f, FAULT_USAGE, 0,
               "several disks are named %s; give the id:", name);
  else
    fault_set (f, FAULT_NOTFOUND, 0, "it has no disk %s, but:", name);
  for (size_t i = 0; i < m->disk_count; i++)
    fault_append (f, " %s (%s)", m->disks[i].id,
                  m->disks[i].alias != NULL ? m->disks[i].alias : "");
  return NULL;
}

static int
run (const struct restore_file_options *o, struct sink *s,
     struct observer_result *result, struct fault *f)
{
  CLEANUP (place_close) struct place *place = NULL;
  CLEANUP (point_free) struct point *point = NULL;
  const struct manifest_disk *disk;
  int rc = -1;

  if (settings_need_repository (o->settings, f) < 0
      || place_open (o->settings->repository, false, &place, f) < 0
      || point_find (place, o->point, &point, f) < 0)
    return -1;
  disk = find_disk (point, o->disk, f);
  if (disk == NULL)
    return -1;
  s->progress.disk_id = disk->id;
  s->progress.alias = disk->alias;
  s->progress.virtual_size = disk->virtual_size;
  if (reader_open (place, point, disk->id, &s->reader, f) < 0)
    return -1;
  s->fd = open_output (o->to, f);
  if (s->fd >= 0) {
    s->seekable = strcmp (o->to, "-") != 0;
    rc = copy_all (s, o->qcow2, f);
    if (fdio_close (&s->fd, o->to, f) < 0)
      rc = -1;
    if (rc < 0 && s->seekable)
      unlink (o->to);
  }
  result->disk_count = 1;
  result->bytes_virtual = disk->virtual_size;
  result->bytes_data = s->progress.bytes_total;
  flat_free (s->flat);
  reader_close (s->reader);
  if (s->observer->progress != NULL && rc == 0)
    s->observer->progress (s->observer->opaque, &s->progress);
  return rc;
}

int
restore_file (const struct restore_file_options *options,
              const struct observer *observer, struct observer_tally *tally,
              struct fault *f)
{
  struct sink s = { .observer = observer, .fd = -1, .path = options->to };
  struct observer_result result = { .state = OBSERVER_DONE,
                                    .vm_name = options->point,
                                    .point = options->point };
  uint64_t begin = stamp_mono_ms ();

  s.progress.vm_name = options->point;
  s.progress.alias = options->disk;
  s.progress.phase = phase_name (PHASE_WRITE);
  s.piece = try_aligned (4096, FLAT_PIECE, "a piece of a disk", f);
  if (s.piece == NULL || run (options, &s, &result, f) < 0) {
    result.state = OBSERVER_FAILED;
    result.fault = f;
  }
  free (s.piece);
  result.duration_ms = stamp_mono_ms () - begin;
  observer_count (tally, &result);
  if (observer->result != NULL)
    observer->result (observer->opaque, &result);
  /* The result has told the fault. */
  fault_reset (f);
  return 0;
}
