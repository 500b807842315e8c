/* SPDX-License-Identifier: Apache-2.0 */
/* What LVM printed on hosts, the flags that it gets, records of duties, the
   map of written blocks. */
#include <config.h>

#include <stdlib.h>

#include "base/buf.h"
#include "base/fault.h"
#include "remote/cover.h"
#include "remote/dm.h"
#include "remote/hold.h"
#include "remote/lvstate.h"
#include "remote/lvtext.h"
#include "tests/unit/unit.h"
#include "wire/digest.h"

#define VG "Qb1zLw-2f3d-4R5t-6y7u-8i9o-0pAs-dFgHjK"
#define LV1 "00Whpv-rFWw-T944-l0an-dPDN-dImf-aPzKDC"
#define LV2 "11Whpv-rFWw-T944-l0an-dPDN-dImf-aPzKDC"
#define SD "11111111-2222-3333-4444-555555555555"
#define V1 "b0000000-0000-4000-8000-000000000000"
#define V2 "b1000000-0000-4000-8000-000000000001"
#define IMG "aaaaaaaa-0000-4000-8000-000000000001"
#define BLANK "PU_00000000-0000-0000-0000-000000000000"
#define META                                                                   \
  "  " VG "|" LV2 "|metadata|-wi-a-----|134217728|0|/dev/mapper/L1(0):0-0|\n"
#define ROW1                                                                   \
  "  " VG "|" LV1 "|" V1 "|-wi-------|268435456|0|/dev/mapper/L1:9-9|IU_" IMG  \
  ",MD_5," BLANK "\n"
#define ROW2                                                                   \
  "  " VG "|" LV1 "|" V1                                                       \
  "|-wi-------|268435456|1|/dev/mapper/L1:12-12|IU_" IMG ",MD_5," BLANK "\n"

static struct group_lun luns[] = { { "35000c50015ea7101" }, { "A.b+c" } };
static const struct group_spec domain = { 5, "", 2, luns };

static void
test_rows (void **state)
{
  struct fault f = FAULT_INIT;
  struct lvtext_lv *lvs = NULL;
  size_t count = 0;

  (void)state;
  /* segments come in any order */
  assert_int_equal (lvtext_rows (ROW2 META ROW1, &lvs, &count, &f), 0);
  assert_int_equal (count, 2);
  assert_string_equal (lvs[0].name, V1);
  assert_string_equal (lvs[0].lv_uuid, LV1);
  assert_string_equal (lvs[0].ranges,
                       "/dev/mapper/L1:9-9 /dev/mapper/L1:12-12");
  assert_string_equal (lvs[0].image, IMG);
  assert_int_equal (lvs[0].slot, 5);
  assert_true (lvs[0].root);
  assert_int_equal (lvs[0].size, 268435456);
  assert_int_equal (lvtext_check (&lvs[0], true, &f), 0);
  assert_int_equal (lvs[1].slot, -1);
  assert_int_equal (lvtext_check (&lvs[1], false, &f), -1);
  free (lvs);
  fault_reset (&f);
  assert_int_equal (lvtext_rows ("", &lvs, &count, &f), 0);
  assert_int_equal (count, 0);
  free (lvs);
}

static void
test_rows_long (void **state)
{
  struct fault f = FAULT_INIT;
  struct lvtext_lv *lvs = NULL;
  struct lvtext_lv *other = NULL;
  size_t count = 0;
  struct buf text;

  (void)state;
  buf_init (&text, 1 << 20);
  for (unsigned i = 0; i < 60; i++)
    buf_printf (&text,
                VG "|" LV1 "|" V1 "|-wi-a-----|9|%u|/dev/mapper/L1:%u-%u|"
                   "IU_" IMG ",MD_7\n",
                i, 2 * i, 2 * i);
  buf_put_u8 (&text, 0);
  assert_int_equal (lvtext_rows ((char *)text.data, &lvs, &count, &f), 0);
  assert_int_equal (count, 1);
  assert_memory_equal (lvs[0].ranges, "xxh3:", 5);
  /* one extent elsewhere */
  strstr ((char *)text.data, "L1:80-80")[3] = '9';
  assert_int_equal (lvtext_rows ((char *)text.data, &other, &count, &f), 0);
  assert_string_not_equal (lvs[0].ranges, other[0].ranges);
  free (lvs);
  free (other);
  buf_reset (&text);
}

static void
test_rows_refused (void **state)
{
  static const char *const bad[] = {
    "x\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9|0|r\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9|0|r|t|u\n",
    "short|" LV1 "|" V1 "|-wi-a-----|9|0|r|IU_" IMG "\n",
    VG "|" LV1 "||-wi-a-----|9|0|r|IU_" IMG "\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9.00g|0|r|IU_" IMG "\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|99999999999999999999|0|r|\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9|0|r|IU_../../x\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9|0|r|IU_" IMG ",MD_x\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9|0|r|IU_" IMG ",MD_1,MD_2\n",
    VG "|" LV1 "|" V1 "|-wi-a-----|9|0|r|IU_" IMG ",IU_" V1 "\n",
    ROW1 ROW1,
    ROW1 VG "|" LV2 "|" V1 "|-wi-a-----|9|0|r|IU_" IMG ",MD_1\n",
    ROW1 VG "|" LV1 "|" V2 "|-wi-------|268435456|1|r|IU_" IMG ",MD_5\n",
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (bad); i++) {
    struct fault f = FAULT_INIT;
    struct lvtext_lv *lvs = NULL;
    size_t count;

    if (lvtext_rows (bad[i], &lvs, &count, &f) == 0)
      fail_msg ("row set %zu was taken", i);
    assert_int_equal (f.code, FAULT_CORRUPT);
  }
}

/* What may not be used, by its tags and attributes. */
static void
test_check (void **state)
{
  static const struct {
    const char *attr;
    const char *tags;
    bool write;
    enum fault_code code;
  } cases[] = {
    { "-wi-a-----", "IU_" IMG ",MD_1", true, FAULT_NONE },
    { "-wi-a-----", "IU_" IMG ",MD_1,PU_" V1, false, FAULT_NONE },
    { "-wi-a-----", "IU_" IMG ",MD_1,PU_" V1, true, FAULT_CORRUPT },
    { "-wi-a-----", "IU_" IMG ",MD_1,PU_", true, FAULT_NONE },
    { "-wi-------", "IU__remove_me_" IMG ",MD_1", false, FAULT_BUSY },
    { "-wi-------", "IU__remove_me_ZERO_" IMG ",MD_1", false, FAULT_BUSY },
    { "-wi-------", "OVIRT_VOL_INITIALIZING", false, FAULT_BUSY },
    { "-wi-------", "MD_1", false, FAULT_CORRUPT },
    { "-wi-------", "IU_" IMG, false, FAULT_CORRUPT },
    { "swi-------", "IU_" IMG ",MD_1", false, FAULT_CORRUPT },
    { "-wi-----p-", "IU_" IMG ",MD_1", false, FAULT_IO },
    { "-wi-XX--X-", "IU_" IMG ",MD_1", false, FAULT_IO },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    struct lvtext_lv *lvs = NULL;
    size_t count;
    struct buf row;

    buf_init (&row, 4096);
    buf_printf (&row, VG "|" LV1 "|" V1 "|%s|9|0|r|%s\n", cases[i].attr,
                cases[i].tags);
    buf_put_u8 (&row, 0);
    assert_int_equal (lvtext_rows ((char *)row.data, &lvs, &count, &f), 0);
    lvtext_check (&lvs[0], cases[i].write, &f);
    if (f.code != cases[i].code
        || (strchr (cases[i].attr, 'p') != NULL)
               != (strstr (f.text, "are missing") != NULL))
      fail_msg ("%s %s: %s", cases[i].attr, cases[i].tags, f.text);
    free (lvs);
    buf_reset (&row);
  }
}

#define TAGS                                                                   \
  "RHAT_storage_domain,MDT_SDUUID=" SD ",MDT_TYPE=ISCSI,MDT_VERSION=5,"        \
  "MDT_POOL_UUID=" V1 ",MDT_PV0=pv:L1&44&uuid:x"

static void
test_vg (void **state)
{
  static const struct {
    const char *text;
    const char *wrong; /* NULL: right */
  } cases[] = {
    { "  " VG "|" SD "||" TAGS "\n", NULL },
    { VG "|" SD "||RHAT_storage_domain\n", NULL },
    { VG "|" SD "||RHAT_storage_domain_UNREADY\n", "no tag" },
    { VG "|" SD "|partial|" TAGS "\n", "LUNs are missing" },
    { VG "|" SD "||RHAT_storage_domain,MDT_SDUUID=" V2 "\n", "MDT_SDUUID" },
    { VG "|" SD "||RHAT_storage_domain,MDT_VERSION=4\n", "MDT_VERSION=4" },
    { VG "|" SD "||RHAT_storage_domain,MDT_POOL_UUID=" V2 "\n", "data center" },
    { VG "|" SD "||RHAT_storage_domain,MDT_VERSION=x\n", "malformed" },
    { VG "|" SD "\n", "malformed" },
    { "", "malformed" },
  };
  struct group_spec g = domain;

  (void)state;
  strcpy (g.pool, V1);
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    struct lvtext_vg vg;

    if (lvtext_vg (cases[i].text, &vg, &f) == 0)
      lvtext_check_vg (&vg, SD, &g, &f);
    if (cases[i].wrong == NULL ? f.code != FAULT_NONE
                               : strstr (f.text, cases[i].wrong) == NULL)
      fail_msg ("case %zu: %s", i, f.text);
  }
}

static void
test_flags (void **state)
{
  static const struct {
    const char *version;
    const char *help;
    int style; /* -1: refused */
  } cases[] = {
    { "  LVM version:     2.02.187(2)-RHEL7 (2020-03-24)\n", "", LVTEXT_EL7 },
    { "  LVM version:     2.03.09(2)-RHEL8\n", "--driverloaded",
      LVTEXT_FILTER },
    { "  LVM version:     2.03.16(2) (2022-05-18)\n", "[ --devices PV ]",
      LVTEXT_DEVICES },
    { "  LVM version:     3.0.1(2)\n", "--devices PV", LVTEXT_DEVICES },
    { "  LVM version:     2.01.09\n", "", -1 },
    { "lvm: not found", "", -1 },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    enum lvtext_style style = LVTEXT_EL7;
    struct fault f = FAULT_INIT;
    int rc = lvtext_style (cases[i].version, cases[i].help, &style, &f);

    assert_int_equal (rc == 0 ? (int)style : -1, cases[i].style);
  }
}

/* The whole text for one host of each kind. */
static void
test_config (void **state)
{
  static const char filter[]
      = "filter=[\"a|^/dev/mapper/35000c50015ea7101$|^/dev/mapper/A[.]b[+]c$|\""
        ",\"r|.*|\"]";
  struct buf b;

  (void)state;
  buf_init (&b, 65536);
  lvtext_config (LVTEXT_EL7, &domain, NULL, &b);
  assert_non_null (strstr ((char *)b.data, filter));
  assert_non_null (strstr ((char *)b.data, "locking_type=4"));
  assert_non_null (strstr ((char *)b.data, "use_lvmetad=0"));
  buf_clear (&b);
  lvtext_config (LVTEXT_FILTER, &domain, SD, &b);
  assert_non_null (strstr ((char *)b.data, filter));
  assert_null (strstr ((char *)b.data, "locking_type"));
  assert_non_null (
      strstr ((char *)b.data, "read_only_volume_list=[\"" SD "\"]"));
  buf_clear (&b);
  lvtext_devices (LVTEXT_FILTER, &domain, &b);
  assert_string_equal ((char *)b.data, "");
  buf_clear (&b);
  lvtext_config (LVTEXT_DEVICES, &domain, NULL, &b);
  assert_null (strstr ((char *)b.data, "filter"));
  assert_null (strstr ((char *)b.data, "locking_type"));
  assert_null (strstr ((char *)b.data, "read_only_volume_list"));
  buf_clear (&b);
  lvtext_devices (LVTEXT_DEVICES, &domain, &b);
  assert_string_equal ((char *)b.data,
                       "/dev/mapper/35000c50015ea7101,/dev/mapper/A.b+c");
  buf_reset (&b);
}

static void
test_errors (void **state)
{
  static const struct {
    const char *text;
    enum lvtext_error meaning;
    const char *reason;
  } cases[] = {
    { "  Volume group \"" SD "\" not found\n  Cannot process volume group " SD
      "\n",
      LVTEXT_GROUP, "Volume group \"" SD "\" not found" },
    { "  Logical volume " SD "/" V1 " in use.\n", LVTEXT_IN_USE,
      "Logical volume " SD "/" V1 " in use." },
    { "  WARNING: x\n  Failed to find logical volume \"" SD "/" V1 "\"\n",
      LVTEXT_NOT_FOUND, "Failed to find logical volume \"" SD "/" V1 "\"" },
    { "  Can't deactivate volume group \"" SD "\" with 2 open logical "
      "volume(s)\n",
      LVTEXT_IN_USE, NULL },
    { "  Operation prohibited while --readonly is set.\n", LVTEXT_FLAGS, NULL },
    { "  WARNING: Inconsistent metadata found for VG x\n", LVTEXT_RACE, "" },
    { "device-mapper: remove ioctl on x failed: Device or resource busy\n",
      LVTEXT_IN_USE, NULL },
    { "", LVTEXT_OTHER, "" },
  };
  char reason[200];

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    assert_int_equal (lvtext_classify (cases[i].text), cases[i].meaning);
    lvtext_reason (cases[i].text, reason, sizeof reason);
    if (cases[i].reason != NULL)
      assert_string_equal (reason, cases[i].reason);
  }
  assert_true (lvtext_lost (cases[2].text, SD, V1));
  assert_false (lvtext_lost (cases[2].text, SD, V2));
}

static void
test_tags (void **state)
{
  char out[32];

  (void)state;
  assert_true (lvtext_decode_tag ("pv:a&44&b", out, sizeof out));
  assert_string_equal (out, "pv:a,b");
  assert_false (lvtext_decode_tag ("a&44", out, sizeof out));
  assert_false (lvtext_decode_tag ("a&0&", out, sizeof out));
  assert_false (lvtext_decode_tag ("a&&", out, sizeof out));
  assert_false (
      lvtext_decode_tag ("123456789012345678901234567890123", out, sizeof out));
}

#define RECORD                                                                 \
  "chainlift-lv 1\nboot " IMG "\nsd " SD " 5\nlun L1\nlun L2\n"                \
  "mine " V1 " " VG " " LV1 "\nheld " V2 " " VG " " LV2 "\n"

static void
test_record (void **state)
{
  static const char *const bad[] = {
    "",
    "chainlift-lv 2\nboot " IMG "\n",
    "chainlift-lv 1",
    "chainlift-lv 1\nsd " SD " 5\n",
    RECORD "mine x " VG " " LV1 "\n",
    RECORD "lun a/b\n",
    RECORD "what " V1 "\n",
    RECORD "done " IMG "\n",
    RECORD "\n",
  };
  struct fault f = FAULT_INIT;
  struct lvstate s;

  (void)state;
  /* the last line was cut short: what it announces was not begun */
  assert_int_equal (lvstate_parse (RECORD "done " V2 "\nmine " IMG, &s, &f), 0);
  assert_string_equal (s.boot, IMG);
  assert_string_equal (s.sd, SD);
  assert_int_equal (s.group.version, 5);
  assert_int_equal (s.group.lun_count, 2);
  assert_string_equal (s.group.luns[1].id, "L2");
  assert_int_equal (s.count, 2);
  assert_true (s.volumes[0].mine && !s.volumes[0].done);
  assert_true (!s.volumes[1].mine && s.volumes[1].done);
  assert_string_equal (s.volumes[1].lv_uuid, LV2);
  lvstate_reset (&s);
  /* activated again after it was done */
  assert_int_equal (lvstate_parse (RECORD "done " V1 "\nmine " V1 " " VG " " LV1
                                          "\n",
                                   &s, &f),
                    0);
  assert_int_equal (s.count, 2);
  assert_false (s.volumes[0].done);
  lvstate_reset (&s);
  for (size_t i = 0; i < COUNT_OF (bad); i++) {
    fault_reset (&f);
    if (lvstate_parse (bad[i], &s, &f) == 0)
      fail_msg ("record %zu was taken", i);
  }
}

static void
test_cover (void **state)
{
  struct fault f = FAULT_INIT;
  struct cover c = { .size = 0 };
  uint64_t hole = 1;

  (void)state;
  assert_false (cover_hole (&c, &hole)); /* not kept */
  cover_add (&c, 0, 1);
  assert_int_equal (cover_init (&c, 200 * DIGEST_BLOCK + 512, &f), 0);
  assert_true (cover_hole (&c, &hole));
  assert_int_equal (hole, 0);
  cover_add (&c, 0, 70 * DIGEST_BLOCK);
  cover_add (&c, 71 * DIGEST_BLOCK, 129 * DIGEST_BLOCK);
  assert_true (cover_hole (&c, &hole));
  assert_int_equal (hole, 70 * DIGEST_BLOCK);
  cover_add (&c, 70 * DIGEST_BLOCK, DIGEST_BLOCK);
  assert_true (cover_hole (&c, &hole));
  assert_int_equal (hole, 200 * DIGEST_BLOCK);
  cover_add (&c, 200 * DIGEST_BLOCK, 512);
  assert_false (cover_hole (&c, &hole));
  cover_reset (&c);
}

static void
test_places (void **state)
{
  struct fault f = FAULT_INIT;
  char id[DM_ID_SIZE];
  struct lv_want *want = calloc (1, sizeof *want);

  (void)state;
  dm_id (VG, LV1, id);
  assert_string_equal (id, "LVM-Qb1zLw2f3d4R5t6y7u8i9o0pAsdFgHjK"
                           "00WhpvrFWwT944l0andPDNdImfaPzKDC");
  assert_int_equal (hold_offset (3, 9), 9 * 512);
  assert_int_equal (hold_offset (4, 9), 9 * 512);
  assert_int_equal (hold_offset (5, 9), 1024 * 1024 + 9 * 8192);
  assert_int_equal (hold_want ("/rhev/data-center/mnt/blockSD/" SD, &domain,
                               LV_READ, want, &f),
                    0);
  assert_string_equal (want->sd, SD);
  assert_string_equal (want->luns[1].id, "A.b+c");
  assert_int_equal (hold_want ("/rhev/data-center/mnt/blockSD/" SD "/x",
                               &domain, LV_READ, want, &f),
                    -1);
  assert_int_equal (hold_want ("/dev/" SD, &domain, LV_READ, want, &f), -1);
  free (want);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_rows),         cmocka_unit_test (test_rows_long),
    cmocka_unit_test (test_rows_refused), cmocka_unit_test (test_check),
    cmocka_unit_test (test_vg),           cmocka_unit_test (test_flags),
    cmocka_unit_test (test_config),       cmocka_unit_test (test_errors),
    cmocka_unit_test (test_tags),         cmocka_unit_test (test_record),
    cmocka_unit_test (test_cover),        cmocka_unit_test (test_places),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
