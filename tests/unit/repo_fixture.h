/* SPDX-License-Identifier: Apache-2.0 */
/* A repository in a temporary folder and disks whose bytes are known, for the
   tests of src/repo.  Included by one program each: all here is its own. */
#ifndef REPO_FIXTURE_H
#define REPO_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/stamp.h"
#include "base/xmem.h"
#include "repo/content.h"
#include "repo/draft.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/oracle.h"
#include "repo/place.h"
#include "repo/point.h"
#include "repo/qemuimg.h"
#include "repo/reader.h"
#include "repo/sum.h"
#include "repo/verify.h"
#include "repo/writer.h"
#include "tests/unit/unit.h"

#define VM "0a0a0a0a-0000-4000-8000-000000000001"
#define VM2 "0a0a0a0a-0000-4000-8000-000000000002"
#define DISK "d1d1d1d1-0000-4000-8000-000000000001"
#define BLOCK DIGEST_BLOCK
#define SIZE1 (300 * (uint64_t)BLOCK + 5 * 512) /* no multiple of 64 KiB */
#define SIZE2 (340 * (uint64_t)BLOCK + 512)
#define WHEN INT64_C (1795136400)
#define THREADS 4
#define RUN_BLOCKS 16u /* of one put: 1 MiB */

static char folder[] = "/tmp/chainlift-unit-XXXXXX";
static char *repo;
static struct place *place;
static uint64_t seed = 88172645463325252u;

static inline uint64_t
next_random (void)
{
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static inline int
setup (void **state)
{
  (void)state;
  signal (SIGPIPE, SIG_IGN);
  if (mkdtemp (folder) == NULL)
    return -1;
  repo = xasprintf ("%s/repo", folder);
  return place_open (repo, true, &place, NULL);
}

static inline int
teardown (void **state)
{
  (void)state;
  place_close (place);
  free (repo);
  return fdio_remove_tree (AT_FDCWD, folder, NULL);
}

static inline struct manifest *
make_manifest (uint64_t size)
{
  struct manifest *m = manifest_new ();
  struct manifest_disk *d = manifest_add_disk (m, NULL);

  strcpy (m->vm_id, VM);
  manifest_set (&m->vm_name, "web");
  strcpy (d->id, DISK);
  manifest_set (&d->alias, "web_Disk1");
  d->virtual_size = size;
  d->provisioned_size = size;
  return m;
}

static inline struct point *
open_point (const char *name)
{
  struct point *point = NULL;
  struct fault f = FAULT_INIT;

  if (point_open (place, VM, name, &point, &f) < 0)
    fail_msg ("%s", f.text);
  return point;
}

/* What the guest has on its disk, and what of it a run has to send. */
enum kind { SAME, ZERO, DATA };
struct model {
  uint64_t size;
  uint64_t blocks;
  uint8_t *bytes;
  enum kind *kinds;
};

static inline void
model_free (struct model *m)
{
  free (m->bytes);
  free (m->kinds);
}

static inline size_t
block_size (const struct model *m, uint64_t block)
{
  uint64_t left = m->size - block * BLOCK;

  return left < BLOCK ? (size_t)left : BLOCK;
}

/* A guest that wrote here and there over what was in BEFORE (or nothing). */
static inline struct model
model_make (uint64_t size, const struct model *before)
{
  struct model m = { .size = size, .blocks = DIGEST_BLOCKS (size) };

  m.bytes = xcalloc (m.blocks, BLOCK);
  m.kinds = xcalloc (m.blocks, sizeof *m.kinds);
  if (before != NULL)
    memcpy (m.bytes, before->bytes, before->size);
  for (uint64_t i = 0; i < m.blocks; i++) {
    unsigned dice = next_random () % 8;

    /* The last block, which is short, always holds data. */
    m.kinds[i] = dice < 3 || i == m.blocks - 1 ? DATA : dice < 5 ? ZERO : SAME;
    if (m.kinds[i] == SAME)
      continue;
    memset (m.bytes + i * BLOCK, 0, block_size (&m, i));
    for (size_t j = 0; m.kinds[i] == DATA && j < block_size (&m, i); j += 8)
      put_le64 (m.bytes + i * BLOCK + j, next_random ());
  }
  return m;
}

/* The pieces of a run, in a shuffled order, taken by several threads. */
struct feed {
  const struct model *m;
  struct writer *w;
  uint64_t *order;
  uint64_t count;
  uint64_t next;
  pthread_mutex_t lock;
  int failed;
};

static inline int
feed_piece (struct feed *feed, uint64_t first)
{
  const struct model *m = feed->m;
  uint64_t end
      = first + RUN_BLOCKS < m->blocks ? first + RUN_BLOCKS : m->blocks;
  uint8_t digests[RUN_BLOCKS * DIGEST_SIZE];

  while (first < end) {
    uint64_t last = first;
    size_t size = 0;

    while (last < end && m->kinds[last] == m->kinds[first])
      size += block_size (m, last++);
    digest_table (m->bytes + first * BLOCK, size, digests);
    if (m->kinds[first] == DATA
        && writer_put (feed->w, first * BLOCK, m->bytes + first * BLOCK, size,
                       digests, NULL)
               < 0)
      return -1;
    if (m->kinds[first] == ZERO
        && writer_zero (feed->w, first * BLOCK, size, NULL) < 0)
      return -1;
    first = last;
  }
  return 0;
}

static inline void *
feed_thread (void *arg)
{
  struct feed *feed = arg;

  for (;;) {
    uint64_t i;

    pthread_mutex_lock (&feed->lock);
    i = feed->next++;
    pthread_mutex_unlock (&feed->lock);
    if (i >= feed->count)
      return NULL;
    if (feed_piece (feed, feed->order[i] * RUN_BLOCKS) < 0)
      feed->failed = 1;
  }
}

static inline void
feed_all (const struct model *m, struct writer *w)
{
  struct feed feed = { .m = m, .w = w };
  pthread_t threads[THREADS];

  feed.count = (m->blocks + RUN_BLOCKS - 1) / RUN_BLOCKS;
  feed.order = xcalloc (feed.count, sizeof *feed.order);
  pthread_mutex_init (&feed.lock, NULL);
  for (uint64_t i = 0; i < feed.count; i++) {
    uint64_t j = next_random () % (i + 1);

    feed.order[i] = feed.order[j];
    feed.order[j] = i;
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, feed_thread, &feed),
                      0);
  for (int i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  pthread_mutex_destroy (&feed.lock);
  free (feed.order);
  assert_int_equal (feed.failed, 0);
}

static inline bool
have_qemu (void)
{
  char version[QEMUIMG_VERSION_SIZE];

  return qemuimg_version ("qemu-img", version, NULL) == 0;
}

/* As chainlift-repository(5) says: qemu-img alone, in the point's folder. */
static inline void
check_by_hand (const char *name, const struct model *m)
{
  char *command = xasprintf ("cd %s/vms/" VM "/%s"
                             " && qemu-img check -q -f qcow2 " DISK ".qcow2"
                             " && qemu-img convert -f qcow2 -O raw " DISK
                             ".qcow2 %s/by-hand.raw",
                             repo, name, folder);
  char *path = xasprintf ("%s/by-hand.raw", folder);
  char *raw;
  size_t size;

  assert_int_equal (system (command), 0);
  raw = fdio_slurp (AT_FDCWD, path, 1u << 30, &size, NULL);
  assert_non_null (raw);
  assert_true (size == m->size);
  assert_memory_equal (raw, m->bytes, size);
  free (raw);
  free (path);
  free (command);
}

/* Back up model M at WHEN; the name of the point into NAME.  A full lies over
   BASE, a template's base, unless that is NULL. */
static inline void
back_up_over (const struct model *m, int64_t when, const char *run,
              const char *parent, const struct point *base,
              char name[static POINT_NAME_SIZE])
{
  struct lease *lease = NULL;
  struct draft *draft = NULL;
  struct writer *w = NULL;
  struct writer_totals totals;
  struct manifest *manifest = make_manifest (m->size);
  struct fault f = FAULT_INIT;

  assert_int_equal (lease_take (place, VM, run, &lease, NULL), 0);
  assert_int_equal (draft_begin (place, lease, when, run, &draft, NULL), 0);
  assert_int_equal (draft_put_text (draft, "vm.ovf", "<ovf/>", 6, NULL), 0);
  if (base != NULL)
    assert_int_equal (
        draft_add_disk_over (draft, DISK, m->size, base, &w, NULL), 0);
  else
    assert_int_equal (draft_add_disk (draft, DISK, m->size, parent, &w, NULL),
                      0);
  feed_all (m, w);
  assert_null (writer_totals (w));
  if (writer_finish (w, &totals, &f) < 0)
    fail_msg ("%s", f.text);
  assert_true (totals.data == writer_stored (w));
  if (draft_publish (draft, manifest, &f) < 0)
    fail_msg ("%s", f.text);
  strcpy (name, draft_point (draft));
  draft_free (draft);
  manifest_free (manifest);
  lease_drop (lease);
}

static inline void
back_up (const struct model *m, int64_t when, const char *run,
         const char *parent, char name[static POINT_NAME_SIZE])
{
  back_up_over (m, when, run, parent, NULL, name);
}

static inline int
mark_extent (const struct extent *e, void *opaque, struct fault *f)
{
  uint8_t *map = opaque;

  (void)f;
  assert_int_equal (e->kind, EXTENT_DATA);
  for (uint64_t i = e->start; i < e->start + e->length; i += BLOCK)
    map[i / BLOCK] = 1;
  return 0;
}

/* The point gives exactly the bytes of M. */
static inline void
check_bytes (const char *name, const struct model *m, unsigned depth)
{
  struct point *point = open_point (name);
  struct reader *r = NULL;
  struct fault f = FAULT_INIT;
  uint8_t *data = xmalloc (RUN_BLOCKS * BLOCK);
  uint8_t *map = xcalloc (m->blocks, 1);

  if (reader_open (place, point, DISK, &r, &f) < 0)
    fail_msg ("%s", f.text);
  assert_true (reader_size (r) == m->size);
  assert_int_equal (reader_depth (r), depth);
  for (uint64_t at = 0; at < m->size; at += RUN_BLOCKS * BLOCK) {
    size_t size = m->size - at < RUN_BLOCKS * BLOCK ? (size_t)(m->size - at)
                                                    : RUN_BLOCKS * BLOCK;

    if (reader_read (r, at, data, size, &f) < 0)
      fail_msg ("%s", f.text);
    assert_memory_equal (data, m->bytes + at, size);
  }
  assert_int_equal (reader_map (r, 0, m->size, mark_extent, map, NULL), 0);
  for (uint64_t i = 0; i < m->blocks; i++) {
    uint8_t is[DIGEST_SIZE];
    uint8_t want[DIGEST_SIZE];
    int rc = reader_digest (r, i, is, &f);

    assert_int_equal (rc, map[i]);
    digest_of (m->bytes + i * BLOCK, block_size (m, i), want);
    assert_true (digest_equal (rc == 1 ? is : digest_zero (), want));
  }
  assert_int_equal (reader_read (r, 512, data, BLOCK, NULL), -1);
  assert_int_equal (reader_read (r, m->size, data, BLOCK, NULL), -1);
  reader_close (r);
  point_free (point);
  free (data);
  free (map);
}

#endif /* REPO_FIXTURE_H */
