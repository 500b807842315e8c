/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's rules about what vdsm's metadata and paths may say. */
#include <config.h>

#include "unit.h"

#include <stdio.h>

#include "base/fault.h"
#include "remote/meta.h"
#include "remote/path.h"
#include "remote/send.h"
#include "remote/volume.h"
#include "wire/capacity.h"

#define SD "0a1b2c3d-0000-4000-8000-000000000001"
#define IMG "0a1b2c3d-0000-4000-8000-000000000002"
#define PAR "0a1b2c3d-0000-4000-8000-000000000003"
#define SP "0a1b2c3d-0000-4000-8000-000000000004"

#define HEAD "DISKTYPE=DATA\nDOMAIN=" SD "\n"
#define TAIL                                                                   \
  "FORMAT=COW\nGEN=7\nIMAGE=" IMG "\nLEGALITY=LEGAL\nPUUID=" PAR "\n"          \
  "TYPE=SPARSE\nVOLTYPE=INTERNAL\n"

struct meta_case {
  const char *text;
  const char *wrong; /* part of the message; NULL: it is right */
  uint64_t capacity;
};

static const struct meta_case metas[] = {
  { "CAP=10737418240\n" HEAD TAIL "EOF\n", NULL, 10737418240 },
  { HEAD "SIZE=20971520\nMTIME=0\nPOOL_UUID=\n" TAIL "EOF", NULL, 10737418240 },
  { "CAP=4096\nDESCRIPTION={\"a\":\"b=c\\n\xc3\xa4\"}\n" HEAD TAIL "EOF\n\n",
    NULL, 4096 },
  { "CAP=4096\nSIZE=9\n" HEAD TAIL "EOF\nPUUID=x\n", NULL, 4096 },
  { "CAP=4096\nno value\n" HEAD TAIL "EOF\n", NULL, 4096 },
  { "", "cleared", 0 },
  { "NONE\nNONE\n", "cleared", 0 },
  { "CAP=4096\n" HEAD TAIL, "cut short", 0 },
  { HEAD TAIL "EOF\n", "neither CAP nor SIZE", 0 },
  { "CAP=4096\n" HEAD TAIL "PUUID=" PAR "\nEOF\n", "stands twice", 0 },
  { "CAP=4096\n" HEAD "DISKTYPE=DATA\n" TAIL "EOF\n", "stands twice", 0 },
  { "CAP=-1\n" HEAD TAIL "EOF\n", "no number", 0 },
  { "CAP=\n" HEAD TAIL "EOF\n", "no number", 0 },
  { "CAP=99999999999999999999\n" HEAD TAIL "EOF\n", "no number", 0 },
  { "CAP=2305843009213693953\n" HEAD TAIL "EOF\n", "no number", 0 },
  { "SIZE=4503599627370497\n" HEAD TAIL "EOF\n", "no number", 0 },
  { "CAP=4096\nDOMAIN=" SD "\n" TAIL "EOF\n", "no DISKTYPE", 0 },
  { "CAP=4096\nDISKTYPE=DATA\n" TAIL "EOF\n", "no DOMAIN", 0 },
  { "CAP=4096\nDISKTYPE=DATA\nDOMAIN=../x\n" TAIL "EOF\n", "no UUID", 0 },
  { "CAP=4096\nDISKTYPE=LONGNAME\nDOMAIN=" SD "\n" TAIL "EOF\n", "unknown", 0 },
};

static void
test_meta (void **state)
{
  struct meta m;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (metas); i++) {
    struct fault f = FAULT_INIT;
    int rc = meta_parse (metas[i].text, strlen (metas[i].text), &m, &f);

    if (metas[i].wrong != NULL) {
      assert_int_equal (rc, -1);
      assert_int_equal (f.code, FAULT_CORRUPT);
      assert_non_null (strstr (f.text, metas[i].wrong));
      continue;
    }
    if (rc < 0)
      fail_msg ("case %zu: %s", i, f.text);
    assert_int_equal (m.capacity, metas[i].capacity);
    assert_string_equal (m.domain, SD);
    assert_string_equal (m.image, IMG);
    assert_string_equal (m.parent, PAR);
    assert_true (m.cow);
    assert_int_equal (m.voltype, META_INTERNAL);
    assert_int_equal (m.legality, META_LEGAL);
    assert_int_equal (m.generation, 7);
    assert_true (meta_is_data (&m));
  }
}

/* Every value of the enumerations, and every one that is none of ours. */
static void
test_meta_values (void **state)
{
  static const struct {
    const char *format, *voltype, *legality, *disktype;
    bool right, cow, data;
    enum meta_voltype v;
    enum meta_legality l;
  } table[] = {
    { "RAW", "LEAF", "LEGAL", "DATA", 1, 0, 1, META_LEAF, META_LEGAL },
    { "COW", "SHARED", "ILLEGAL", "2", 1, 1, 1, META_SHARED, META_ILLEGAL },
    { "COW", "INTERNAL", "FAKE", "1", 1, 1, 1, META_INTERNAL, META_FAKE },
    { "COW", "LEAF", "ILLEGAL", "SCRD", 1, 1, 0, META_LEAF, META_ILLEGAL },
    { "RAW", "LEAF", "LEGAL", "OVFS", 1, 0, 0, META_LEAF, META_LEGAL },
    { "RAW", "LEAF", "LEGAL", "MEMD", 1, 0, 0, META_LEAF, META_LEGAL },
    { "cow", "LEAF", "LEGAL", "DATA", 0, 0, 0, 0, 0 },
    { "QCOW2", "LEAF", "LEGAL", "DATA", 0, 0, 0, 0, 0 },
    { "COW", "", "LEGAL", "DATA", 0, 0, 0, 0, 0 },
    { "COW", "LEAF", "LEGALX", "DATA", 0, 0, 0, 0, 0 },
  };
  char text[1024];
  struct meta m;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;
    int n
        = snprintf (text, sizeof text,
                    "CAP=4096\nDOMAIN=" SD "\nIMAGE=" IMG "\nPUUID=" UUID_BLANK
                    "\nFORMAT=%s\nVOLTYPE=%s\nLEGALITY=%s\nDISKTYPE=%s\n"
                    "CTIME=%s\nEOF\n",
                    table[i].format, table[i].voltype, table[i].legality,
                    table[i].disktype, i == 0 ? "1574000000" : "soon");

    assert_int_equal (meta_parse (text, (size_t)n, &m, &f),
                      table[i].right ? 0 : -1);
    if (!table[i].right)
      continue;
    assert_int_equal (m.cow, table[i].cow);
    assert_int_equal (m.voltype, table[i].v);
    assert_int_equal (m.legality, table[i].l);
    assert_int_equal (meta_is_data (&m), table[i].data);
    assert_int_equal (m.generation, 0);
    assert_int_equal (m.created, i == 0 ? 1574000000 : 0);
  }
}

/* Padding of a slot, and one byte too many. */
static void
test_meta_sizes (void **state)
{
  static const char text[] = "CAP=4096\n" HEAD TAIL "EOF\n";
  char slot[META_SIZE_MAX + 1] = { 0 };
  struct fault f = FAULT_INIT;
  struct meta m;

  (void)state;
  memcpy (slot, text, sizeof text);
  assert_int_equal (meta_parse (slot, 512, &m, &f), 0);
  assert_int_equal (meta_parse (slot, META_SIZE_MAX, &m, &f), 0);
  assert_int_equal (meta_parse (slot, META_SIZE_MAX + 1, &m, &f), -1);
  for (size_t size = 0; size < sizeof text - 2; size++) {
    fault_reset (&f);
    /* "EOF" without its newline is the first that is whole */
    assert_int_equal (meta_parse (text, size, &m, &f), -1);
  }
}

static void
test_path (void **state)
{
  static const struct {
    const char *path;
    bool right;
  } table[] = {
    { PATH_TOP "/mnt/nas:_exp_my__data/" SD, true },
    { PATH_TOP "/mnt/[2001:db8::1]:_a/" SD, true },
    { PATH_TOP "/mnt/glusterSD/g1:_vol/" SD, true },
    { PATH_TOP "/mnt/_data_images/" SD, true },
    { PATH_TOP "/" SP "/" SD, true },
    { PATH_TOP "/mnt/" SD, false },
    { PATH_TOP "/mnt/glusterSD/" SD, false },
    { PATH_TOP "/mnt/blockSD/" SD, false },
    { PATH_TOP "/mnt/a/b/" SD, false },
    { PATH_TOP "/mnt/glusterSD/a/b/" SD, false },
    { PATH_TOP "/mnt/../" SD, false },
    { PATH_TOP "/mnt/./" SD, false },
    { PATH_TOP "/mnt//" SD, false },
    { PATH_TOP "/mnt/x/" SD "/", false },
    { PATH_TOP "/mnt/x/" SD "x", false },
    { PATH_TOP "/mnt/x/mastersd", false },
    { PATH_TOP "/mnt/x\n/" SD, false },
    { PATH_TOP "/../" SD, false },
    { PATH_TOP "/x/" SD, false },
    { PATH_TOP "/" SD, false },
    { PATH_TOP "/", false },
    { PATH_TOP, false },
    { PATH_TOP "x/mnt/y/" SD, false },
    { "/etc/mnt/x/" SD, false },
    { "rhev/data-center/mnt/x/" SD, false },
    { "", false },
  };
  struct path_domain d;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;

    if ((path_parse (table[i].path, &d, &f) == 0) != table[i].right)
      fail_msg ("%s: %s", table[i].path, f.text);
    if (table[i].right)
      assert_string_equal (path_domain_id (&d), SD);
    else
      assert_int_equal (f.code, FAULT_PROTO);
  }
}

/* One change of what vdsm or the engine says at a time. */
static void
test_volume (void **state)
{
  static const struct {
    const char *key; /* NULL: as it should be */
    const char *value;
    enum fault_code code;
  } table[] = {
    { NULL, NULL, FAULT_NONE },
    { "DOMAIN", IMG, FAULT_CORRUPT },
    { "IMAGE", SD, FAULT_CORRUPT },
    { "PUUID", SD, FAULT_BUSY },
    { "PUUID", UUID_BLANK, FAULT_BUSY },
    { "FORMAT", "RAW", FAULT_CORRUPT },
    { "CAP", "8192", FAULT_CORRUPT },
    { "LEGALITY", "ILLEGAL", FAULT_BUSY },
    { "LEGALITY", "FAKE", FAULT_BUSY },
    { "VOLTYPE", "LEAF", FAULT_BUSY },
    { "VOLTYPE", "SHARED", FAULT_CORRUPT },
    { "DISKTYPE", "SCRD", FAULT_CORRUPT },
    { "DISKTYPE", "OVFS", FAULT_CORRUPT },
    { "DISKTYPE", "MEMM", FAULT_CORRUPT },
    { "DISKTYPE", "HEVD", FAULT_CORRUPT },
    { "DISKTYPE", "2", FAULT_NONE },
  };
  static const char *const lines[][2] = {
    { "CAP", "4096" },   { "DISKTYPE", "DATA" },    { "DOMAIN", SD },
    { "FORMAT", "COW" }, { "IMAGE", IMG },          { "LEGALITY", "LEGAL" },
    { "PUUID", PAR },    { "VOLTYPE", "INTERNAL" },
  };
  const struct msg_layer want = { .image = IMG,
                                  .parent = PAR,
                                  .format = MSG_COW,
                                  .voltype = MSG_INTERNAL,
                                  .legality = MSG_LEGAL,
                                  .capacity = 4096 };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;
    char text[1024] = "";
    struct meta m;

    for (size_t k = 0; k < COUNT_OF (lines); k++) {
      bool changed
          = table[i].key != NULL && strcmp (table[i].key, lines[k][0]) == 0;

      snprintf (text + strlen (text), sizeof text - strlen (text), "%s=%s\n",
                lines[k][0], changed ? table[i].value : lines[k][1]);
    }
    strcat (text, "EOF\n");
    assert_int_equal (meta_parse (text, strlen (text), &m, &f), 0);
    assert_int_equal (volume_check (&m, SD, &want, &f),
                      table[i].code == FAULT_NONE ? 0 : -1);
    if (f.code != table[i].code)
      fail_msg ("case %zu: %s", i, f.text);
  }
}

/* What the engine tells is what it has asked for; 0: nothing. */
static void
test_volume_capacity (void **state)
{
  static const struct {
    uint64_t told, found;
    bool right;
  } table[] = {
    { 4608, 4608, true },  { 4608, 8192, true },   { 8192, 8192, true },
    { 0, 4608, true },     { 4608, 8704, false },  { 4608, 12288, false },
    { 4608, 4096, false }, { 8192, 12288, false }, { 8192, 4608, false },
    { 4608, 0, false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;
    struct meta m = { .domain = SD,
                      .image = IMG,
                      .parent = UUID_BLANK,
                      .disktype = "DATA",
                      .legality = META_LEGAL,
                      .voltype = META_LEAF,
                      .capacity = table[i].found };
    struct msg_layer want = { .image = IMG,
                              .parent = UUID_BLANK,
                              .format = MSG_RAW,
                              .voltype = MSG_LEAF,
                              .legality = MSG_LEGAL,
                              .capacity = table[i].told };

    assert_int_equal (volume_check (&m, SD, &want, &f),
                      table[i].right ? 0 : -1);
    assert_int_equal (f.code, table[i].right ? FAULT_NONE : FAULT_CORRUPT);
  }
}

/* A template's base keeps the template's image; nothing else does. */
static void
test_volume_owner (void **state)
{
  static const struct {
    enum meta_voltype voltype;
    const char *image, *owner, *meta_image;
    bool right;
  } table[] = {
    { META_INTERNAL, IMG, "", IMG, true },
    { META_INTERNAL, IMG, "", SP, false },
    { META_INTERNAL, IMG, SP, SP, true },
    { META_SHARED, IMG, "", SP, true },
    { META_SHARED, IMG, SP, SP, true },
    { META_SHARED, IMG, SP, IMG, false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;
    struct meta m = { .domain = SD,
                      .parent = UUID_BLANK,
                      .disktype = "DATA",
                      .legality = META_LEGAL,
                      .voltype = table[i].voltype };
    struct msg_layer want = { .parent = UUID_BLANK,
                              .format = MSG_RAW,
                              .voltype = MSG_INTERNAL | MSG_SHARED,
                              .legality = MSG_LEGAL };

    strcpy (m.image, table[i].meta_image);
    strcpy (want.image, table[i].image);
    strcpy (want.owner, table[i].owner);
    assert_int_equal (volume_check (&m, SD, &want, &f),
                      table[i].right ? 0 : -1);
  }
}

static void
test_size_fits (void **state)
{
  static const struct {
    uint64_t size, capacity;
    bool fits;
  } table[] = {
    { 0, 0, true },           { 4096, 4096, true },     { 4608, 4608, true },
    { 4608, 8192, true },     { 8191, 8192, true },     { 4097, 8192, true },
    { 4096, 8192, false },    { 4608, 4096, false },    { 8192, 4096, false },
    { 4608, 5120, false },    { 0, 4096, false },       { 1, 0, false },
    { UINT64_MAX, 0, false }, { 0, UINT64_MAX, false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++)
    assert_int_equal (
        capacity_fits (table[i].size, table[i].capacity, CAPACITY_ROUND),
        table[i].fits);
}

#define A "0a1b2c3d-0000-4000-8000-00000000000a"
#define B "0a1b2c3d-0000-4000-8000-00000000000b"
#define C "0a1b2c3d-0000-4000-8000-00000000000c"

static void
test_chain (void **state)
{
  static const struct {
    const char *text; /* volume, parent and format of each, one letter each */
    bool part, right;
    uint32_t lower;
  } table[] = {
    { "cbq baq a-r", true, true, 1 },   { "cbq baq a-q", true, true, 2 },
    { "cbq baq", true, false, 1 },      { "a-r", false, true, 0 },
    { "a-q", false, true, 0 },          { "cbq baq a-r", false, true, 0 },
    { "cbq baq a-q", false, true, 0 },  { "cbq baq", false, false, 0 },
    { "cbq baq", true, true, 0 },       { "cbq", true, true, 0 },
    { "cbq", false, false, 0 },         { "cbq a-r", false, false, 0 },
    { "cbq a-r", true, false, 0 },      { "cbq bcq", true, false, 0 },
    { "ccq", true, false, 0 },          { "caq acq caq", true, false, 0 },
    { "cbr baq a-r", false, false, 0 }, { "c-q baq", true, false, 0 },
    { "a-r", true, true, 0 },           { "car a-r", false, false, 0 },
    { "car", true, false, 0 },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (table); i++) {
    struct fault f = FAULT_INIT;
    struct msg_layer layers[4] = { 0 };
    struct msg_open_read m = { .layers = layers,
                               .flags = table[i].part ? MSG_READ_KEEP_ZERO : 0,
                               .lower_count = table[i].lower };

    for (const char *p = table[i].text;; p += 4) {
      struct msg_layer *l = &layers[m.layer_count++];

      strcpy (l->volume, p[0] == 'a' ? A : p[0] == 'b' ? B : C);
      strcpy (l->parent, p[1] == '-'   ? UUID_BLANK
                         : p[1] == 'a' ? A
                         : p[1] == 'b' ? B
                                       : C);
      l->format = p[2] == 'r' ? MSG_RAW : MSG_COW;
      if (p[3] == '\0')
        break;
    }
    if ((send_check_chain (&m, &f) == 0) != table[i].right)
      fail_msg ("%s: %s", table[i].text, f.text);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_meta),
    cmocka_unit_test (test_meta_values),
    cmocka_unit_test (test_meta_sizes),
    cmocka_unit_test (test_path),
    cmocka_unit_test (test_volume),
    cmocka_unit_test (test_volume_owner),
    cmocka_unit_test (test_volume_capacity),
    cmocka_unit_test (test_size_fits),
    cmocka_unit_test (test_chain),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
