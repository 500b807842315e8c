/* SPDX-License-Identifier: Apache-2.0 */
/* The L1 and L2 tables of a qcow2 container.

   One window holds the L2 table in use.  When a table is used for the first
   time each entry that maps a part of the virtual disk is checked and the
   clusters it names are marked (seen.h); the run that was found last is kept,
   so that a walk which takes it in small pieces looks at each entry once. */
#include <config.h>

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/xmem.h"
#include "image/blob.h"
#include "image/qcow2.h"
#include "image/seen.h"
#include "image/source.h"

#define L1_RESERVED UINT64_C (0x7f000000000001ff)
#define L2_RESERVED UINT64_C (0x3f000000000001fe)
#define OFFSET_MASK UINT64_C (0x00fffffffffffe00)
#define ENTRY_COMPRESSED (UINT64_C (1) << 62)
#define ENTRY_ZERO UINT64_C (1)
#define SUBCLUSTERS 32
#define SECTOR 512
/* No deflate or zstd stream of a cluster is shorter. */
#define PACKED_MIN 4

struct qcow2 {
  struct source *src;
  struct qcow2_header header;
  uint64_t cluster_size;
  uint64_t entries; /* of an L2 table */
  uint64_t span;    /* guest bytes of an L2 table */
  uint64_t *l1;     /* l1_needed entries, host byte order */
  struct seen *seen;
  uint8_t *checked; /* one bit for each L1 entry */
  uint8_t *window;  /* SOURCE_ALIGNed */
  uint64_t window_size;
  uint64_t window_offset; /* UINT64_MAX: empty */
  uint8_t *packed;        /* room for a blob with its alignment */
  uint64_t packed_sum;
  uint64_t end;
  struct extent run;
};

/* A blob as an L2 entry describes it. */
struct blob_place {
  uint64_t offset;
  uint64_t size;
};

static int
bad_entry (const struct qcow2 *q, uint64_t guest, uint64_t entry,
           const char *what, struct fault *f)
{
  return fault_set (f, FAULT_CORRUPT, 0,
                    "%s: L2 entry 0x%016" PRIx64 " of guest offset %" PRIu64
                    " %s",
                    q->src->name, entry, guest, what);
}

static void
note_end (struct qcow2 *q, uint64_t end)
{
  if (end > q->end)
    q->end = end;
}

/* Bring the aligned block that begins at OFFSET into the window. */
static int
load_window (struct qcow2 *q, uint64_t offset, struct fault *f)
{
  uint64_t size = q->window_size;
  uint64_t left = q->src->size - offset;

  if (q->window_offset == offset)
    return 0;
  if (size > left)
    size = (left + SOURCE_ALIGN - 1) & ~(uint64_t)(SOURCE_ALIGN - 1);
  q->window_offset = UINT64_MAX;
  if (q->src->read_at (q->src->opaque, offset, q->window, size, f) < 0)
    return -1;
  q->window_offset = offset;
  return 0;
}

static uint64_t
load_u64 (const uint8_t *p)
{
  uint64_t v;

  memcpy (&v, p, sizeof v);
  return be64toh (v);
}

static struct blob_place
blob_place (const struct qcow2 *q, uint64_t entry)
{
  unsigned bits = q->header.cluster_bits;
  unsigned x = 62 - (bits - 8);
  struct blob_place b;
  uint64_t sectors;

  b.offset = entry & ((UINT64_C (1) << x) - 1);
  sectors = ((entry >> x) & ((UINT64_C (1) << (bits - 8)) - 1)) + 1;
  b.size = sectors * SECTOR - b.offset % SECTOR;
  return b;
}

static int
mark_cluster (struct qcow2 *q, uint64_t guest, uint64_t entry, uint64_t host,
              struct fault *f)
{
  int rc;

  if (host % q->cluster_size != 0)
    return bad_entry (q, guest, entry, "is not cluster aligned", f);
  if (host >= q->src->size)
    return bad_entry (q, guest, entry, "lies beyond the container", f);
  rc = seen_plain (q->seen, host >> q->header.cluster_bits, 1, f);
  if (rc < 0)
    return fault_prefix (f, "%s", q->src->name);
  if (rc > 0)
    return bad_entry (q, guest, entry, "names a cluster that is in use", f);
  note_end (q, host + q->cluster_size);
  return 0;
}

static int
check_packed (struct qcow2 *q, uint64_t guest, uint64_t entry, struct fault *f)
{
  struct blob_place b = blob_place (q, entry);
  unsigned bits = q->header.cluster_bits;
  uint64_t sure
      = b.size > SECTOR - 1 + PACKED_MIN ? b.size - (SECTOR - 1) : PACKED_MIN;
  uint64_t last;
  int rc;

  if (b.offset < q->cluster_size)
    return bad_entry (q, guest, entry, "has compressed data in the header", f);
  if (b.offset >= q->src->size)
    return bad_entry (q, guest, entry, "lies beyond the container", f);
  if (b.size > q->src->size - b.offset)
    b.size = q->src->size - b.offset; /* the last sector may be cut */
  last = b.offset + b.size - 1;
  rc = seen_packed (q->seen, b.offset, b.offset >> bits, last >> bits, f);
  if (rc < 0)
    return fault_prefix (f, "%s", q->src->name);
  if (rc == 1)
    return bad_entry (q, guest, entry,
                      "has compressed data in a cluster that is in use", f);
  if (rc == 2)
    return bad_entry (q, guest, entry,
                      "has the compressed data of another cluster", f);
  /* Blobs do not overlap but for the rest of their last sector. */
  q->packed_sum += sure;
  if (q->packed_sum > q->src->size)
    return bad_entry (q, guest, entry,
                      "makes the compressed data larger than the container", f);
  note_end (q, last + 1);
  return 0;
}

static int
check_standard (struct qcow2 *q, uint64_t guest, uint64_t entry,
                struct fault *f)
{
  uint64_t host = entry & OFFSET_MASK;

  if ((entry & ENTRY_COMPRESSED) != 0)
    return check_packed (q, guest, entry, f);
  if ((entry & L2_RESERVED) != 0)
    return bad_entry (q, guest, entry, "has reserved bits", f);
  if ((entry & ENTRY_ZERO) != 0) {
    if (q->header.version < 3)
      return bad_entry (q, guest, entry, "is a zero cluster in version 2", f);
    /* Preallocation is never read; it may lie anywhere. */
    if (host % q->cluster_size != 0)
      return bad_entry (q, guest, entry, "is not cluster aligned", f);
    return 0;
  }
  return host == 0 ? 0 : mark_cluster (q, guest, entry, host, f);
}

static int
check_extended (struct qcow2 *q, uint64_t guest, uint64_t entry,
                uint64_t bitmap, struct fault *f)
{
  uint64_t host = entry & OFFSET_MASK;
  uint32_t allocated = (uint32_t)bitmap;
  uint32_t zero = (uint32_t)(bitmap >> 32);

  if ((entry & ENTRY_COMPRESSED) != 0)
    return check_packed (q, guest, entry, f);
  if ((entry & (L2_RESERVED | ENTRY_ZERO)) != 0)
    return bad_entry (q, guest, entry, "has reserved bits", f);
  if ((allocated & zero) != 0)
    return bad_entry (q, guest, entry,
                      "has subclusters that are both data and zero", f);
  if (allocated != 0 && host == 0)
    return bad_entry (q, guest, entry, "has subclusters but no cluster", f);
  if (allocated == 0) {
    if (host % q->cluster_size != 0)
      return bad_entry (q, guest, entry, "is not cluster aligned", f);
    return 0;
  }
  return mark_cluster (q, guest, entry, host, f);
}

/* All entries of the table in the window that map the virtual disk. */
static int
check_table (struct qcow2 *q, uint64_t index, const uint8_t *table,
             struct fault *f)
{
  uint64_t guest = index * q->span;
  uint64_t left = q->header.virtual_size - guest;
  uint64_t count = left >= q->span
                       ? q->entries
                       : (left + q->cluster_size - 1) >> q->header.cluster_bits;

  for (uint64_t i = 0; i < count; i++, guest += q->cluster_size) {
    int rc;

    if (q->header.extended_l2) {
      rc = check_extended (q, guest, load_u64 (table + 16 * i),
                           load_u64 (table + 16 * i + 8), f);
    }
    else {
      uint64_t entry = load_u64 (table + 8 * i);

      if (entry == 0)
        continue;
      rc = check_standard (q, guest, entry, f);
    }
    if (rc < 0)
      return -1;
  }
  return 0;
}

/* The L2 table of an L1 entry, checked; NULL with F. */
static const uint8_t *
load_table (struct qcow2 *q, uint64_t index, struct fault *f)
{
  uint64_t offset = q->l1[index] & OFFSET_MASK;
  uint64_t in_window = offset & (q->window_size - 1);
  const uint8_t *table = q->window + in_window;

  if (load_window (q, offset - in_window, f) < 0) {
    fault_prefix (f, "L2 table at 0x%" PRIx64, offset);
    return NULL;
  }
  if ((q->checked[index / 8] & 1u << index % 8) != 0)
    return table;
  if (check_table (q, index, table, f) < 0)
    return NULL;
  q->checked[index / 8] |= (uint8_t)(1u << index % 8);
  return table;
}

static void
packed_run (const struct qcow2 *q, uint64_t entry, uint64_t cluster_start,
            struct extent *e)
{
  struct blob_place b = blob_place (q, entry);

  e->kind = EXTENT_PACKED;
  e->start = cluster_start;
  e->length = q->cluster_size;
  e->host = b.offset;
  e->packed_size = b.size;
  if (e->packed_size > q->src->size - e->host)
    e->packed_size = q->src->size - e->host;
}

/* The run of like entries from entry I on; E covers them. */
static void
standard_run (const struct qcow2 *q, const uint8_t *table, uint64_t i,
              uint64_t start, struct extent *e)
{
  uint64_t entry = load_u64 (table + 8 * i);
  uint64_t mask = OFFSET_MASK | ENTRY_COMPRESSED | ENTRY_ZERO;
  uint64_t expect = entry & mask;
  uint64_t step = (entry & OFFSET_MASK) != 0 ? q->cluster_size : 0;
  uint64_t first = i;

  if ((entry & ENTRY_COMPRESSED) != 0) {
    packed_run (q, entry, start, e);
    return;
  }
  e->start = start;
  e->host = entry & OFFSET_MASK;
  if ((entry & ENTRY_ZERO) != 0)
    e->kind = EXTENT_ZERO;
  else
    e->kind = e->host != 0 ? EXTENT_DATA : EXTENT_ABSENT;
  do {
    i++;
    expect += step;
  } while (i < q->entries && (load_u64 (table + 8 * i) & mask) == expect);
  e->length = (i - first) << q->header.cluster_bits;
}

/* Kind of subcluster SUB of an extended entry that is not compressed. */
static enum extent_kind
subcluster_kind (uint64_t bitmap, unsigned sub)
{
  if ((bitmap >> sub & 1) != 0)
    return EXTENT_DATA;
  if ((bitmap >> (SUBCLUSTERS + sub) & 1) != 0)
    return EXTENT_ZERO;
  return EXTENT_ABSENT;
}

/* The run of like subclusters from number N of the table on; a subcluster is
   the unit in which the table is walked. */
static void
extended_run (const struct qcow2 *q, const uint8_t *table, uint64_t n,
              uint64_t start, struct extent *e)
{
  uint64_t sub_size = q->cluster_size / SUBCLUSTERS;
  uint64_t end = q->entries * SUBCLUSTERS;
  uint64_t first = n;

  for (; n < end; n++) {
    uint64_t entry = load_u64 (table + 16 * (n / SUBCLUSTERS));
    uint64_t bitmap = load_u64 (table + 16 * (n / SUBCLUSTERS) + 8);
    unsigned sub = n % SUBCLUSTERS;
    uint64_t host = entry & OFFSET_MASK;
    enum extent_kind kind = subcluster_kind (bitmap, sub);

    if ((entry & ENTRY_COMPRESSED) != 0) {
      if (n == first)
        packed_run (q, entry, start - sub * sub_size, e);
      if (n == first)
        return;
      break;
    }
    host = host == 0 ? 0 : host + sub * sub_size;
    if (n == first) {
      e->kind = kind;
      e->host = host;
    }
    else if (kind != e->kind
             || host != (e->host == 0 ? 0 : e->host + (n - first) * sub_size)) {
      break;
    }
  }
  e->start = start;
  e->length = (n - first) * sub_size;
}

/* L1 entries that are empty, from INDEX on, up to the one that holds LIMIT. */
static void
empty_run (const struct qcow2 *q, uint64_t index, uint64_t limit,
           struct extent *e)
{
  uint64_t first = index;
  uint64_t end = (limit - 1) / q->span + 1;

  do
    index++;
  while (index < end && (q->l1[index] & OFFSET_MASK) == 0);
  e->kind = EXTENT_ABSENT;
  e->start = first * q->span;
  e->length = (index - first) * q->span;
}

static int
find_run (struct qcow2 *q, uint64_t offset, uint64_t limit, struct fault *f)
{
  uint64_t index = offset / q->span;
  uint64_t in_span = offset % q->span;
  const uint8_t *table;
  struct extent *e = &q->run;

  memset (e, 0, sizeof *e);
  if ((q->l1[index] & OFFSET_MASK) == 0) {
    empty_run (q, index, limit, e);
  }
  else {
    table = load_table (q, index, f);
    if (table == NULL)
      return -1;
    if (q->header.extended_l2) {
      uint64_t sub_size = q->cluster_size / SUBCLUSTERS;

      extended_run (q, table, in_span / sub_size, offset - in_span % sub_size,
                    e);
    }
    else {
      standard_run (q, table, in_span >> q->header.cluster_bits,
                    offset & ~(q->cluster_size - 1), e);
    }
  }
  if (e->length > q->header.virtual_size - e->start)
    e->length = q->header.virtual_size - e->start;
  return 0;
}

int
qcow2_next (struct qcow2 *q, uint64_t offset, uint64_t limit, struct extent *e,
            struct fault *f)
{
  uint64_t skip;

  if (offset >= limit || limit > q->header.virtual_size)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "%s: map of %" PRIu64 " to %" PRIu64
                      " is outside of the disk",
                      q->src->name, offset, limit);
  if (offset < q->run.start || offset - q->run.start >= q->run.length) {
    if (find_run (q, offset, limit, f) < 0) {
      q->run.length = 0;
      return -1;
    }
  }
  *e = q->run;
  skip = offset - e->start;
  e->start = offset;
  e->length -= skip;
  if (e->length > limit - offset)
    e->length = limit - offset;
  if (e->kind == EXTENT_PACKED)
    e->packed_skip += skip;
  else if (e->host != 0)
    e->host += skip;
  return 0;
}

int
qcow2_map (struct qcow2 *q, uint64_t start, uint64_t length, extent_fn fn,
           void *opaque, struct fault *f)
{
  struct extent_joiner j = { .fn = fn, .opaque = opaque };
  uint64_t size = q->header.virtual_size;
  uint64_t end = start + length;

  if (start > size || length > size - start)
    return fault_set (f, FAULT_INTERNAL, 0,
                      "%s: map of %" PRIu64 " bytes at %" PRIu64
                      " is outside of the disk",
                      q->src->name, length, start);
  while (start < end) {
    struct extent e;

    if (qcow2_next (q, start, end, &e, f) < 0)
      return -1;
    start += e.length;
    if (e.kind == EXTENT_ZERO || e.kind == EXTENT_ABSENT)
      e.host = 0;
    if (extent_join (&j, &e, f) < 0)
      return -1;
  }
  return extent_join_end (&j, f);
}

int
qcow2_unpack (struct qcow2 *q, const struct extent *e, uint8_t *out,
              struct fault *f)
{
  uint64_t before = e->host % SOURCE_ALIGN;
  uint64_t size = (before + e->packed_size + SOURCE_ALIGN - 1)
                  & ~(uint64_t)(SOURCE_ALIGN - 1);
  int rc;

  /* At most 2 clusters minus a sector, and the alignment on both sides */
  if (q->packed == NULL) {
    q->packed
        = try_aligned (SOURCE_ALIGN, 2 * q->cluster_size + 2 * SOURCE_ALIGN,
                       "a compressed cluster", f);
    if (q->packed == NULL)
      return -1;
  }
  if (q->src->read_at (q->src->opaque, e->host - before, q->packed, size, f)
      < 0)
    return -1;
  if (q->header.compression == QCOW2_COMPRESSION_ZSTD)
    rc = blob_zstd (q->packed + before, e->packed_size, out, q->cluster_size,
                    f);
  else
    rc = blob_zlib (q->packed + before, e->packed_size, out, q->cluster_size,
                    f);
  if (rc < 0)
    return fault_prefix (f, "%s: compressed cluster of guest offset %" PRIu64,
                         q->src->name, e->start - e->packed_skip);
  return 0;
}

/* Bytes that must be read to have cluster 0, by the first block of it. */
static uint64_t
header_room (const struct qcow2 *q, const uint8_t *block)
{
  uint64_t room = SOURCE_ALIGN;
  uint64_t size
      = (q->src->size + SOURCE_ALIGN - 1) & ~(uint64_t)(SOURCE_ALIGN - 1);
  uint32_t bits;

  memcpy (&bits, block + 20, sizeof bits);
  bits = be32toh (bits);
  if (bits <= QCOW2_CLUSTER_BITS_MAX && UINT64_C (1) << bits > room)
    room = UINT64_C (1) << bits;
  return room < size ? room : size;
}

static int
read_header (struct qcow2 *q, const struct qcow2_expect *expect,
             struct fault *f)
{
  static const struct qcow2_expect nothing;
  struct source *src = q->src;
  CLEANUP_FREE uint8_t *data = NULL;
  CLEANUP_FREE uint8_t *block
      = try_aligned (SOURCE_ALIGN, SOURCE_ALIGN, "the header of an image", f);
  uint64_t size;

  if (block == NULL)
    return -1;
  memset (block, 0, SOURCE_ALIGN);
  if (src->size > 0
      && src->read_at (src->opaque, 0, block, SOURCE_ALIGN, f) < 0)
    return -1;
  size = header_room (q, block);
  data = try_aligned (SOURCE_ALIGN, size, "the header of an image", f);
  if (data == NULL)
    return -1;
  if (size > 0 && src->read_at (src->opaque, 0, data, size, f) < 0)
    return -1;
  if (size > src->size)
    size = src->size;
  if (qcow2_parse (data, size, src->size, &q->header, f) < 0
      || qcow2_expect_check (&q->header, expect != NULL ? expect : &nothing, f)
             < 0)
    return fault_prefix (f, "%s", src->name);
  return 0;
}

/* The clusters of the fixed tables are in use. */
static int
mark_fixed (struct qcow2 *q, struct fault *f)
{
  const struct qcow2_header *h = &q->header;
  unsigned bits = h->cluster_bits;
  uint64_t l1_size = (uint64_t)h->l1_entries * 8;
  int rc = seen_plain (q->seen, 0, 1, f);

  if (rc == 0)
    rc = seen_plain (q->seen, h->reftable_offset >> bits, h->reftable_clusters,
                     f);
  if (rc == 0 && l1_size > 0)
    rc = seen_plain (q->seen, h->l1_offset >> bits, ((l1_size - 1) >> bits) + 1,
                     f);
  if (rc > 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: L1 table and refcount table overlap", q->src->name);
  if (rc < 0)
    return fault_prefix (f, "%s", q->src->name);
  note_end (q, h->reftable_offset + ((uint64_t)h->reftable_clusters << bits));
  note_end (q, h->l1_offset + l1_size);
  return 0;
}

static int
check_l1_entry (struct qcow2 *q, uint64_t index, struct fault *f)
{
  uint64_t entry = q->l1[index];
  uint64_t offset = entry & OFFSET_MASK;
  const char *what = NULL;
  int rc;

  if ((entry & L1_RESERVED) != 0)
    what = "has reserved bits";
  else if (offset == 0)
    return 0;
  else if (offset % q->cluster_size != 0)
    what = "is not cluster aligned";
  else if (q->cluster_size > q->src->size
           || offset > q->src->size - q->cluster_size)
    what = "lies beyond the container";
  if (what == NULL) {
    rc = seen_plain (q->seen, offset >> q->header.cluster_bits, 1, f);
    if (rc < 0)
      return fault_prefix (f, "%s", q->src->name);
    if (rc > 0)
      what = "names a cluster that is in use";
  }
  if (what != NULL)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "%s: L1 entry %" PRIu64 " (0x%016" PRIx64 ") %s",
                      q->src->name, index, entry, what);
  note_end (q, offset + q->cluster_size);
  return 0;
}

static int
read_l1 (struct qcow2 *q, struct fault *f)
{
  uint64_t count = q->header.l1_needed;

  q->l1 = try_calloc (count, sizeof q->l1[0], "the L1 table", f);
  q->checked = try_calloc (count / 8 + 1, 1, "marks of L2 tables", f);
  if (q->l1 == NULL || q->checked == NULL)
    return -1;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t offset = q->header.l1_offset + 8 * i;
    uint64_t in_window = offset & (q->window_size - 1);

    if (load_window (q, offset - in_window, f) < 0)
      return fault_prefix (f, "L1 table at 0x%" PRIx64, q->header.l1_offset);
    q->l1[i] = load_u64 (q->window + in_window);
    if (check_l1_entry (q, i, f) < 0)
      return -1;
  }
  return 0;
}

static int
setup (struct qcow2 *q, const struct qcow2_expect *expect, struct fault *f)
{
  const struct qcow2_header *h = &q->header;
  unsigned entry_bits;

  if (read_header (q, expect, f) < 0)
    return -1;
  entry_bits = h->extended_l2 ? 4 : 3;
  q->cluster_size = UINT64_C (1) << h->cluster_bits;
  q->entries = q->cluster_size >> entry_bits;
  q->span = q->entries << h->cluster_bits;
  q->window_size
      = q->cluster_size > SOURCE_ALIGN ? q->cluster_size : SOURCE_ALIGN;
  q->window = try_aligned (SOURCE_ALIGN, q->window_size, "an L2 table", f);
  if (q->window == NULL)
    return -1;
  q->seen = seen_new ((q->src->size >> h->cluster_bits) + 1, f);
  if (q->seen == NULL)
    return -1;
  if (mark_fixed (q, f) < 0)
    return -1;
  return read_l1 (q, f);
}

int
qcow2_open (struct source *src, const struct qcow2_expect *expect,
            struct qcow2 **out, struct fault *f)
{
  CLEANUP (qcow2_close) struct qcow2 *q = xcalloc (1, sizeof *q);

  q->src = src;
  q->window_offset = UINT64_MAX;
  if (setup (q, expect, f) < 0)
    return -1;
  *out = steal_ptr (&q);
  return 0;
}

void
qcow2_close (struct qcow2 *q)
{
  if (q == NULL)
    return;
  seen_free (q->seen);
  free (q->checked);
  free (q->l1);
  free (q->window);
  free (q->packed);
  free (q);
}

const struct qcow2_header *
qcow2_header (const struct qcow2 *q)
{
  return &q->header;
}

const uint64_t *
qcow2_l1 (const struct qcow2 *q)
{
  return q->l1;
}

uint64_t
qcow2_span (const struct qcow2 *q)
{
  return q->span;
}

uint64_t
qcow2_end (const struct qcow2 *q)
{
  return q->end;
}
