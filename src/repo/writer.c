/* SPDX-License-Identifier: Apache-2.0 */
/* Threads meet only where the placer is asked for room, for a moment; what
   they then write does not overlap.

   So that the fsync at the end finds little to do, a thread tells the kernel to
   begin writing each window of the file once the window behind it is being
   filled (sync_file_range promises nothing: the fsync does that).  It is a
   thread of its own because that call waits while the disk's queue is full,
   which must not hold up those who have data. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "image/layout.h"
#include "image/placer.h"
#include "repo/sum.h"
#include "repo/writer.h"

#define CLUSTER DIGEST_BLOCK
#define WINDOW ((uint64_t)32 << 20)
/* Guest clusters whose digests are read at once at the end. */
#define GATHER 65536u

struct writer {
  int dirfd;
  char *image;
  char *sum;
  char *digests; /* name of the file below */
  int fd;
  int digests_fd; /* 16 bytes for each guest cluster, sparse */
  uint64_t virtual_size;
  uint64_t clusters;
  bool standalone;
  pthread_mutex_t lock; /* of what follows */
  struct placer *placer;
  uint8_t *seen; /* a bit for each guest cluster that came */
  uint64_t stored;
  uint64_t zero;
  bool flusher_runs;
  bool flusher_ends;
  pthread_cond_t flusher_wanted; /* a window is full, or flusher_ends */
  bool finished;
  struct writer_totals totals;
  pthread_t flusher;
};

/* Is there a window at START whose successor is full too? */
static bool
window_full_locked (const struct writer *w, uint64_t start)
{
  return placer_data_end (w->placer) >= start + 2 * WINDOW;
}

static void *
flusher_main (void *arg)
{
  struct writer *w = arg;
  uint64_t start = 0;

  pthread_mutex_lock (&w->lock);
  while (!w->flusher_ends) {
    if (!window_full_locked (w, start)) {
      pthread_cond_wait (&w->flusher_wanted, &w->lock);
      continue;
    }
    pthread_mutex_unlock (&w->lock);
    (void)sync_file_range (w->fd, (off_t)start, (off_t)WINDOW,
                           SYNC_FILE_RANGE_WRITE);
    start += WINDOW;
    pthread_mutex_lock (&w->lock);
  }
  pthread_mutex_unlock (&w->lock);
  return NULL;
}

static void
flusher_stop (struct writer *w)
{
  if (!w->flusher_runs)
    return;
  pthread_mutex_lock (&w->lock);
  w->flusher_ends = true;
  pthread_cond_signal (&w->flusher_wanted);
  pthread_mutex_unlock (&w->lock);
  pthread_join (w->flusher, NULL);
  w->flusher_runs = false;
}

static int
create_file (int dirfd, const char *name, struct fault *f)
{
  int fd = openat (dirfd, name,
                   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

  if (fd < 0)
    return fault_set (f, FAULT_IO, errno, "create %s", name);
  return fd;
}

static int
open_parts (struct writer *w, const char *backing, struct fault *f)
{
  struct layout_params params
      = { .virtual_size = w->virtual_size,
          .cluster_bits = 16,
          .version = 3,
          .backing = backing,
          .backing_format = backing == NULL ? NULL : "qcow2" };

  if (placer_new (&params, &w->placer, f) < 0)
    return fault_prefix (f, "%s", w->image);
  w->seen = try_calloc (w->clusters / 8 + 1, 1, "map of an image", f);
  if (w->seen == NULL)
    return -1;
  w->fd = create_file (w->dirfd, w->image, f);
  if (w->fd < 0)
    return -1;
  w->digests_fd = create_file (w->dirfd, w->digests, f);
  if (w->digests_fd < 0)
    return -1;
  /* Without it everything is right, only the end is slower. */
  w->flusher_runs = pthread_create (&w->flusher, NULL, flusher_main, w) == 0;
  return 0;
}

int
writer_open (int dirfd, const char *image, const char *sum,
             uint64_t virtual_size, const char *backing, struct writer **out,
             struct fault *f)
{
  CLEANUP (writer_free) struct writer *w = xcalloc (1, sizeof *w);

  *out = NULL;
  w->dirfd = dirfd;
  w->image = xstrdup (image);
  w->sum = xstrdup (sum);
  w->digests = xasprintf ("%s.digests", image);
  w->fd = -1;
  w->digests_fd = -1;
  w->virtual_size = virtual_size;
  w->clusters = DIGEST_BLOCKS (virtual_size);
  w->standalone = backing == NULL;
  pthread_mutex_init (&w->lock, NULL);
  pthread_cond_init (&w->flusher_wanted, NULL);
  if (open_parts (w, backing, f) < 0)
    return -1;
  *out = steal_ptr (&w);
  return 0;
}

void
writer_free (struct writer *w)
{
  if (w == NULL)
    return;
  flusher_stop (w);
  if (w->fd >= 0)
    close (w->fd);
  if (w->digests_fd >= 0)
    close (w->digests_fd);
  placer_free (w->placer);
  pthread_cond_destroy (&w->flusher_wanted);
  pthread_mutex_destroy (&w->lock);
  free (w->seen);
  free (w->image);
  free (w->sum);
  free (w->digests);
  free (w);
}

/* Whole clusters inside the disk, the last one maybe short. */
static int
check_range (const struct writer *w, uint64_t offset, uint64_t size,
             struct fault *f)
{
  if (size == 0 || offset % CLUSTER != 0 || offset > w->virtual_size
      || size > w->virtual_size - offset
      || (size % CLUSTER != 0 && offset + size != w->virtual_size))
    return fault_set (f, FAULT_PROTO, 0,
                      "%s: %llu bytes at %llu are not whole clusters of a disk "
                      "of %llu bytes",
                      w->image, (unsigned long long)size,
                      (unsigned long long)offset,
                      (unsigned long long)w->virtual_size);
  return 0;
}

static int
mark_seen_locked (struct writer *w, uint64_t cluster, uint64_t count,
                  struct fault *f)
{
  for (uint64_t i = cluster; i < cluster + count; i++) {
    uint8_t bit = (uint8_t)(1u << (i & 7));

    if ((w->seen[i >> 3] & bit) != 0)
      return fault_set (f, FAULT_PROTO, 0, "%s: the cluster at %llu came twice",
                        w->image, (unsigned long long)(i * CLUSTER));
    w->seen[i >> 3] |= bit;
  }
  return 0;
}

static int
zero_clusters (struct writer *w, uint64_t cluster, uint64_t count,
               struct fault *f)
{
  SCOPED_LOCK (&w->lock);

  if (mark_seen_locked (w, cluster, count, f) < 0)
    return -1;
  if (w->standalone)
    return 0;
  w->zero += count * CLUSTER;
  return placer_set_zero (w->placer, cluster, count, f);
}

/* Room for COUNT clusters, in one piece. */
static int
place_clusters (struct writer *w, uint64_t cluster, uint64_t count,
                uint64_t *host, struct fault *f)
{
  SCOPED_LOCK (&w->lock);

  if (mark_seen_locked (w, cluster, count, f) < 0
      || placer_take (w->placer, cluster, count, host, f) < 0)
    return -1;
  w->stored += count * CLUSTER;
  if (*host / WINDOW != placer_data_end (w->placer) / WINDOW)
    pthread_cond_signal (&w->flusher_wanted);
  return 0;
}

/* Write SIZE bytes; what is missing in the last cluster are zeros. */
static int
write_clusters (struct writer *w, uint64_t host, const uint8_t *data,
                size_t size, struct fault *f)
{
  size_t whole = size - size % CLUSTER;
  CLEANUP_FREE uint8_t *last = NULL;

  if (fdio_pwrite_full (w->fd, data, whole, host, w->image, f) < 0)
    return -1;
  if (whole == size)
    return 0;
  last = xcalloc (1, CLUSTER);
  memcpy (last, data + whole, size - whole);
  return fdio_pwrite_full (w->fd, last, CLUSTER, host + whole, w->image, f);
}

static int
put_run (struct writer *w, uint64_t cluster, const uint8_t *data, size_t size,
         const uint8_t *digests, struct fault *f)
{
  uint64_t count = DIGEST_BLOCKS (size);
  uint64_t host;

  if (place_clusters (w, cluster, count, &host, f) < 0
      || write_clusters (w, host, data, size, f) < 0)
    return -1;
  return fdio_pwrite_full (w->digests_fd, digests, count * DIGEST_SIZE,
                           cluster * DIGEST_SIZE, w->digests, f);
}

/* The digest says that it is; a look at the bytes makes it sure. */
static bool
is_zero (const uint8_t *data, size_t size, const uint8_t *digest)
{
  return digest_equal (digest, digest_zero ()) && data[0] == 0
         && memcmp (data, data + 1, size - 1) == 0;
}

int
writer_put (struct writer *w, uint64_t offset, const void *data, size_t size,
            const uint8_t *digests, struct fault *f)
{
  const uint8_t *bytes = data;
  size_t begin = 0;
  int rc = check_range (w, offset, size, f);

  if (rc == 0 && size > WRITER_PUT_MAX)
    rc = fault_set (f, FAULT_PROTO, 0, "%s: %zu bytes at once", w->image, size);
  /* Runs of clusters that all hold data, or are all zeros. */
  while (rc == 0 && begin < size) {
    bool zero = false;
    size_t end = begin;

    while (end < size) {
      size_t part = size - end < CLUSTER ? size - end : CLUSTER;
      bool this
          = is_zero (bytes + end, part, digests + end / CLUSTER * DIGEST_SIZE);

      if (end > begin && this != zero)
        break;
      zero = this;
      end += part;
    }
    if (zero)
      rc = zero_clusters (w, (offset + begin) / CLUSTER,
                          DIGEST_BLOCKS (end - begin), f);
    else
      rc = put_run (w, (offset + begin) / CLUSTER, bytes + begin, end - begin,
                    digests + begin / CLUSTER * DIGEST_SIZE, f);
    begin = end;
  }
  return rc;
}

int
writer_zero (struct writer *w, uint64_t offset, uint64_t size, struct fault *f)
{
  if (check_range (w, offset, size, f) < 0)
    return -1;
  return zero_clusters (w, offset / CLUSTER, DIGEST_BLOCKS (size), f);
}

static int
write_at (void *opaque, uint64_t offset, const void *data, size_t size,
          struct fault *f)
{
  struct writer *w = opaque;

  return fdio_pwrite_full (w->fd, data, size, offset, w->image, f);
}

/* Did any cluster of the GATHER ones from FIRST on come? */
static bool
any_seen (const struct writer *w, uint64_t first, uint64_t count)
{
  static const uint8_t none[GATHER / 8];

  return memcmp (w->seen + first / 8, none, (size_t)((count + 7) / 8)) != 0;
}

static int
gather (struct writer *w, struct sum_writer *sum, uint8_t *chunk,
        struct fault *f)
{
  for (uint64_t first = 0; first < w->clusters; first += GATHER) {
    uint64_t count
        = w->clusters - first < GATHER ? w->clusters - first : GATHER;

    if (!any_seen (w, first, count))
      continue;
    if (cancel_check (f) < 0
        || fdio_pread_upto (w->digests_fd, chunk, count * DIGEST_SIZE,
                            first * DIGEST_SIZE, w->digests, f)
               < 0)
      return -1;
    for (uint64_t i = 0; i < count; i++) {
      if (placer_cluster_offset (w->placer, first + i) != 0
          && sum_writer_add (sum, first + i, chunk + i * DIGEST_SIZE, f) < 0)
        return -1;
    }
  }
  return 0;
}

static int
write_sum (struct writer *w, struct fault *f)
{
  CLEANUP_CLOSE int fd = create_file (w->dirfd, w->sum, f);
  CLEANUP (sum_writer_free) struct sum_writer *sum = NULL;
  CLEANUP_FREE uint8_t *chunk = NULL;
  struct sum_header h = { .virtual_size = w->virtual_size,
                          .count = placer_data_count (w->placer) };

  if (fd < 0 || sum_writer_new (fd, &h, w->sum, &sum, f) < 0)
    return -1;
  chunk = xcalloc (GATHER, DIGEST_SIZE);
  if (gather (w, sum, chunk, f) < 0
      || sum_writer_end (sum, w->totals.digest, f) < 0
      || fdio_fsync (fd, w->sum, f) < 0)
    return -1;
  w->totals.records = h.count;
  return fdio_close (&fd, w->sum, f);
}

static int
write_image (struct writer *w, struct fault *f)
{
  uint64_t size = 0;

  if (placer_write_tables (w->placer, write_at, w, &size, f) < 0
      || placer_write_header (w->placer, write_at, w, f) < 0)
    return fault_prefix (f, "%s", w->image);
  if (ftruncate (w->fd, (off_t)size) < 0)
    return fault_set (f, FAULT_IO, errno, "truncate %s", w->image);
  w->totals.file_bytes = size;
  if (fdio_fsync (w->fd, w->image, f) < 0)
    return -1;
  return fdio_close (&w->fd, w->image, f);
}

int
writer_finish (struct writer *w, struct writer_totals *totals, struct fault *f)
{
  if (w->finished || w->fd < 0)
    return fault_set (f, FAULT_INTERNAL, 0, "%s is finished already", w->image);
  if (write_sum (w, f) < 0 || write_image (w, f) < 0)
    return -1;
  if (fdio_close (&w->digests_fd, w->digests, f) < 0)
    return -1;
  if (unlinkat (w->dirfd, w->digests, 0) < 0)
    return fault_set (f, FAULT_IO, errno, "remove %s", w->digests);
  w->totals.data = w->stored;
  w->totals.zero = w->zero;
  w->finished = true;
  if (totals != NULL)
    *totals = w->totals;
  return 0;
}

const struct writer_totals *
writer_totals (const struct writer *w)
{
  return w->finished ? &w->totals : NULL;
}

uint64_t
writer_stored (const struct writer *w)
{
  struct writer *mutable = (struct writer *)w;
  SCOPED_LOCK (&mutable->lock);

  return w->stored;
}
