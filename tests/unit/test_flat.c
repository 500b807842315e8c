/* SPDX-License-Identifier: Apache-2.0 */
/* A point as the pieces of a raw or qcow2 file: put together they are what the
   guest had, and qemu-img agrees. */
#include <config.h>

#include "job/flat.h"
#include "tests/unit/repo_fixture.h"

#define EXTENT (128u << 20)

/* A file that is put together from pieces, over bytes of somebody else. */
struct made {
  const struct flat *flat;
  uint8_t *bytes;
  uint64_t at; /* end of the last piece */
  bool raw;
};

static int
put_piece (const struct flat_piece *p, void *opaque, struct fault *f)
{
  struct made *made = opaque;
  uint64_t count = DIGEST_BLOCKS (p->size);
  uint8_t *wanted = xcalloc (count, DIGEST_SIZE);
  uint8_t *got = xcalloc (count, DIGEST_SIZE);
  uint8_t *scratch = xmalloc (FLAT_PIECE);

  assert_true (p->at == made->at);
  assert_true (p->at % BLOCK == 0 && p->size > 0);
  made->at += p->size;
  assert_true (made->at % BLOCK == 0 || made->at == flat_size (made->flat));
  assert_true (p->size <= (p->kind == FLAT_HOLE_RAW ? FLAT_HOLE : FLAT_PIECE));
  assert_true (made->raw ? p->kind != FLAT_TABLE : p->kind != FLAT_HOLE_RAW);
  if (p->kind == FLAT_HOLE_RAW)
    memset (made->bytes + p->at, 0, p->size);
  else if (flat_read (made->flat, p, made->bytes + p->at, f) < 0)
    return -1;
  digest_table (made->bytes + p->at, p->size, got);
  assert_int_equal (flat_digests (made->flat, p, scratch, wanted, f), 0);
  assert_memory_equal (got, wanted, count * DIGEST_SIZE);
  free (scratch);
  free (got);
  free (wanted);
  return 0;
}

/* The file of the point NAME, when RESIZED is not 0 after it was made for that
   virtual size; *SIZE bytes, the caller frees. */
static uint8_t *
put_together (const char *name, const struct flat_params *params,
              uint64_t resized, uint64_t *size)
{
  struct point *point = open_point (name);
  struct reader *r = NULL;
  struct flat *flat = NULL;
  struct made made = { .raw = !params->cow };
  struct fault f = FAULT_INIT;

  assert_int_equal (reader_open (place, point, DISK, &r, &f), 0);
  assert_int_equal (flat_new (r, params, &flat, &f), 0);
  if (resized != 0)
    assert_int_equal (flat_resize (flat, resized, &f), 0);
  *size = flat_size (flat);
  made.flat = flat;
  made.bytes = xmalloc (*size);
  memset (made.bytes, 0xa5, *size);
  if (flat_walk (flat, 0, put_piece, &made, &f) < 0)
    fail_msg ("%s", f.text);
  assert_true (made.at == *size);
  made.at = FLAT_HEAD; /* the walk without the first cluster */
  if (params->cow)
    assert_int_equal (flat_walk (flat, FLAT_HEAD, put_piece, &made, &f), 0);
  flat_free (flat);
  reader_close (r);
  point_free (point);
  return made.bytes;
}

static void
check_raw (const char *name, const struct model *m, uint64_t virtual_size)
{
  const struct flat_params params = { .virtual_size = virtual_size };
  uint64_t size;
  uint8_t *bytes = put_together (name, &params, 0, &size);

  assert_true (size == (virtual_size != 0 ? virtual_size : m->size));
  assert_memory_equal (bytes, m->bytes, m->size);
  for (uint64_t i = m->size; i < size; i++)
    assert_int_equal (bytes[i], 0);
  free (bytes);
}

static void
test_raw (void **state)
{
  struct model m = model_make (SIZE1, NULL);
  struct model over = model_make (SIZE2, &m);
  char name[POINT_NAME_SIZE];
  char upper[POINT_NAME_SIZE];

  (void)state;
  back_up (&m, WHEN, "run-1", NULL, name);
  back_up (&over, WHEN + 1, "run-2", name, upper);
  check_raw (name, &m, 0);
  check_raw (upper, &over, 0);
  /* In its last block, at its end, far behind it. */
  check_raw (name, &m, SIZE1 + 512);
  check_raw (name, &m, DIGEST_BLOCKS (SIZE1) * BLOCK);
  check_raw (upper, &over, EXTENT + 3 * 512);
  model_free (&over);
  model_free (&m);
}

static void
check_cow (const char *name, const struct model *m, uint64_t virtual_size,
           unsigned version)
{
  const struct flat_params params
      = { .cow = true, .version = version, .virtual_size = virtual_size };
  uint64_t wanted = virtual_size != 0 ? virtual_size : m->size;
  uint64_t size;
  uint8_t *bytes = put_together (name, &params, 0, &size);
  char *path = xasprintf ("%s/flat.qcow2", folder);
  char *out = xasprintf ("%s/flat.raw", folder);
  char *command = xasprintf ("qemu-img check -q -f qcow2 %s && qemu-img "
                             "convert -f qcow2 -O raw %s %s",
                             path, path, out);
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  size_t got;
  char *raw;

  assert_true (fd >= 0);
  assert_int_equal (fdio_pwrite_full (fd, bytes, size, 0, path, NULL), 0);
  close (fd);
  assert_int_equal (system (command), 0);
  raw = fdio_slurp (AT_FDCWD, out, 1u << 30, &got, NULL);
  assert_non_null (raw);
  assert_true (got == wanted);
  assert_memory_equal (raw, m->bytes, m->size);
  for (uint64_t i = m->size; i < wanted; i++)
    assert_int_equal (raw[i], 0);
  free (raw);
  free (command);
  free (out);
  free (path);
  free (bytes);
}

static void
test_cow (void **state)
{
  struct model m = model_make (SIZE1, NULL);
  char name[POINT_NAME_SIZE];

  (void)state;
  if (!have_qemu ())
    skip ();
  back_up (&m, WHEN + 10, "run-3", NULL, name);
  check_cow (name, &m, 0, 3);
  check_cow (name, &m, 0, 2);
  check_cow (name, &m, SIZE1 + 4096, 3);
  model_free (&m);
}

/* As if it had been made for that size. */
static void
test_resize (void **state)
{
  static const struct {
    bool cow;
    uint64_t from, to;
  } rows[] = {
    { true, SIZE1, SIZE1 + 4096 },  { true, SIZE1 + 4096, SIZE1 },
    { false, SIZE1, SIZE1 + 4096 }, { false, SIZE1 + 4096, SIZE1 },
    { false, SIZE1, SIZE2 },
  };
  struct model m = model_make (SIZE1, NULL);
  char name[POINT_NAME_SIZE];

  (void)state;
  back_up (&m, WHEN + 15, "run-5", NULL, name);
  for (size_t i = 0; i < COUNT_OF (rows); i++) {
    const struct flat_params from
        = { .cow = rows[i].cow, .virtual_size = rows[i].from };
    const struct flat_params to
        = { .cow = rows[i].cow, .virtual_size = rows[i].to };
    uint64_t got_size;
    uint64_t size;
    uint8_t *got = put_together (name, &from, rows[i].to, &got_size);
    uint8_t *bytes = put_together (name, &to, 0, &size);

    assert_true (got_size == size);
    assert_memory_equal (got, bytes, size);
    free (bytes);
    free (got);
  }
  model_free (&m);
}

static void
test_too_small (void **state)
{
  struct model m = model_make (SIZE1, NULL);
  const struct flat_params params = { .virtual_size = SIZE1 - 512 };
  const struct flat_params raw = { .cow = false };
  const struct flat_params cow = { .cow = true };
  char name[POINT_NAME_SIZE];
  struct point *point;
  struct reader *r = NULL;
  struct flat *flat = NULL;

  (void)state;
  back_up (&m, WHEN + 20, "run-4", NULL, name);
  point = open_point (name);
  assert_int_equal (reader_open (place, point, DISK, &r, NULL), 0);
  assert_int_equal (flat_new (r, &params, &flat, NULL), -1);
  assert_int_equal (flat_new (r, &raw, &flat, NULL), 0);
  assert_int_equal (flat_resize (flat, SIZE1 - 512, NULL), -1);
  flat_free (flat);
  assert_int_equal (flat_new (r, &cow, &flat, NULL), 0);
  assert_int_equal (flat_resize (flat, SIZE1 - 512, NULL), -1);
  assert_int_equal (flat_resize (flat, SIZE2, NULL), -1);
  flat_free (flat);
  reader_close (r);
  point_free (point);
  model_free (&m);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_raw),
    cmocka_unit_test (test_cow),
    cmocka_unit_test (test_resize),
    cmocka_unit_test (test_too_small),
  };

  return cmocka_run_group_tests (tests, setup, teardown);
}
