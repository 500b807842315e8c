/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "repo/lines.h"
#include "repo/manifest.h"
#include "tests/unit/unit.h"

#define VM "0a0a0a0a-0000-4000-8000-000000000001"
#define DISK1 "d1d1d1d1-0000-4000-8000-000000000001"
#define DISK2 "d2d2d2d2-0000-4000-8000-000000000002"
#define HEX "00112233445566778899aabbccddeeff"

#define HEAD                                                                   \
  "chainlift-manifest 1\n"                                                     \
  "vm " VM "\n"                                                                \
  "vm.name web server\n"                                                       \
  "point 20261120T010000Z\n"
#define FULL "kind full\n"
#define REST                                                                   \
  "consistency crash\n"                                                        \
  "run 0123456789abcdef\n"                                                     \
  "program chainlift 0.1.0\n"                                                  \
  "finished 20261120T011000Z\n"
#define DISK_OF(id, kind, zero)                                                \
  "disk " id "\n"                                                              \
  "disk.kind " kind "\n"                                                       \
  "disk.bootable yes\n"                                                        \
  "disk.active yes\n"                                                          \
  "disk.read-only no\n"                                                        \
  "disk.wipe-after-delete no\n"                                                \
  "disk.pass-discard no\n"                                                     \
  "disk.format cow\n"                                                          \
  "disk.sparse yes\n"                                                          \
  "disk.virtual-size 1049088\n"                                                \
  "disk.provisioned-size 1049088\n"                                            \
  "disk.file " id ".qcow2\n"                                                   \
  "disk.file.bytes 500000\n"                                                   \
  "disk.data 65536\n"                                                          \
  "disk.zero " zero "\n"                                                       \
  "disk.sum " id ".sum\n"                                                      \
  "disk.sum.digest " HEX "\n"
#define GOOD HEAD FULL REST DISK_OF (DISK1, "full", "0")

/* TEXT with its end line; the caller frees it. */
static char *
seal (const char *text, size_t *size)
{
  struct buf b;

  buf_init (&b, 2 * MANIFEST_MAX);
  buf_put (&b, text, strlen (text));
  lines_end (&b);
  *size = b.size;
  return (char *)b.data;
}

static int
parse_sealed (const char *text, struct manifest **m, struct fault *f)
{
  size_t size;
  char *sealed = seal (text, &size);
  int rc = manifest_parse (sealed, size, m, f);

  free (sealed);
  return rc;
}

static void
test_round_trip (void **state)
{
  struct fault f = FAULT_INIT;
  struct manifest *m = manifest_new ();
  struct manifest *back = NULL;
  struct manifest_disk *d;
  struct manifest_nic *n;
  struct manifest_skipped *s;
  struct manifest_file *file;
  char *text;
  char *again;
  size_t size;
  size_t size2;

  (void)state;
  strcpy (m->vm_id, VM);
  manifest_set (&m->vm_name, "caf\xc3\xa9 \"q\" \\ x\ny\xff");
  strcpy (m->point, "20261120T010000Z-2");
  m->kind = MANIFEST_INCREMENT;
  strcpy (m->parent, "20261119T010000Z");
  manifest_set (&m->reason, "increment on 20261119T010000Z");
  m->consistency = MANIFEST_FILESYSTEM;
  manifest_set (&m->run_id, "0123abcd");
  manifest_set (&m->program, "chainlift 0.1.0");
  strcpy (m->finished, "20261120T020000Z");
  manifest_set (&m->cluster_name, "Default");
  manifest_set (&m->host_name, "");
  d = manifest_add_disk (m, &f);
  strcpy (d->id, DISK1);
  d->kind = MANIFEST_INCREMENT;
  d->format = MANIFEST_COW;
  d->bootable = true;
  d->virtual_size = UINT64_C (1) << 43;
  d->provisioned_size = (UINT64_C (1) << 43) - 512;
  manifest_set (&d->alias, "web_Disk1");
  manifest_set (&d->file, DISK1 ".qcow2");
  manifest_set (&d->sum, DISK1 ".sum");
  d->data = 65536 * 3;
  d->zero = 65536;
  memset (d->digest, 0xab, sizeof d->digest);
  n = manifest_add_nic (m, &f);
  strcpy (n->id, DISK2);
  manifest_set (&n->mac, "00:1a:4a:16:01:51");
  n->plugged = true;
  s = manifest_add_skipped (m, &f);
  strcpy (s->id, DISK2);
  manifest_set (&s->reason, "LUN disk");
  file = manifest_add_file (m, &f);
  strcpy (file->name, "vm.ovf");
  file->bytes = 12;
  assert_int_equal (manifest_add_tag (m, "nightly", &f), 0);
  assert_int_equal (manifest_add_tag (m, "gold", &f), 0);

  text = manifest_format (m, &size, &f);
  assert_string_equal (f.text, "");
  assert_non_null (text);
  assert_int_equal (manifest_parse (text, size, &back, &f), 0);
  assert_string_equal (back->vm_name, m->vm_name);
  assert_null (back->host_name);
  assert_int_equal (back->kind, MANIFEST_INCREMENT);
  assert_int_equal (back->disk_count, 1);
  assert_true (back->disks[0].provisioned_size == d->provisioned_size);
  assert_memory_equal (back->disks[0].digest, d->digest, DIGEST_SIZE);
  assert_true (back->disks[0].bootable);
  assert_string_equal (back->nics[0].mac, "00:1a:4a:16:01:51");
  assert_string_equal (back->skipped[0].reason, "LUN disk");
  assert_string_equal (back->tags[1], "gold");
  assert_string_equal (back->files[0].name, "vm.ovf");
  assert_ptr_equal (manifest_find_disk (back, "web_Disk1"), &back->disks[0]);
  assert_ptr_equal (manifest_find_disk (back, DISK1), &back->disks[0]);
  assert_null (manifest_find_disk (back, "other"));
  again = manifest_format (back, &size2, &f);
  assert_int_equal (size, size2);
  assert_memory_equal (text, again, size);
  free (text);
  free (again);
  manifest_free (m);
  manifest_free (back);
}

/* What is written must be what can be read: nothing else is handed out. */
static void
test_format_refuses (void **state)
{
  struct fault f = FAULT_INIT;
  struct manifest *m = NULL;
  size_t size;

  (void)state;
  assert_int_equal (parse_sealed (GOOD, &m, &f), 0);
  strcpy (m->vm_id, "../../etc");
  assert_null (manifest_format (m, &size, &f));
  assert_int_equal (f.code, FAULT_INTERNAL);
  manifest_free (m);
}

static const struct {
  const char *name;
  const char *text;
  const char *message;
} hostile[] = {
  { "empty", "", "does not begin" },
  { "other format", "chainlift-manifest 2\n", "does not begin" },
  { "nothing in it", "chainlift-manifest 1\n", "vm is missing" },
  { "no vm name", "chainlift-manifest 1\nvm " VM "\n", "vm.name is missing" },
  { "bad uuid", "chainlift-manifest 1\nvm 0a0a0a0a\n", "malformed" },
  { "dots for uuid", "chainlift-manifest 1\nvm ../../../../etc/passwd\n",
    "malformed" },
  { "key twice", GOOD "disk.data 65536\n", "stands twice" },
  { "top key twice", HEAD FULL "kind full\n" REST, "stands twice" },
  { "unknown key", HEAD FULL REST "colour red\n", "colour is not known" },
  { "unknown disk key", GOOD "disk.colour red\n", "not known" },
  { "disk key without disk", HEAD FULL REST "disk.data 1\n", "not allowed" },
  { "top key behind a disk", GOOD "reason x\n", "not allowed here" },
  { "no value", HEAD FULL REST "reason \n", "no value" },
  { "no blank", HEAD FULL REST "reason\n", "form" },
  { "empty line", HEAD FULL REST "\n", "form" },
  { "upper case key", HEAD FULL REST "Reason x\n", "malformed" },
  { "raw control character", HEAD FULL REST "reason a\tb\n", "not allowed" },
  { "bad UTF-8", HEAD FULL REST "reason \xc0\xaf\n", "0xc0" },
  { "surrogate", HEAD FULL REST "reason \xed\xa0\x80\n", "0xed" },
  { "bad escape", HEAD FULL REST "reason \\n\n", "0x5c" },
  { "escaped NUL", HEAD FULL REST "reason \\x00\n", "0x5c" },
  { "escape not needed", HEAD FULL REST "reason \\x41\n", "0x5c" },
  { "kind", HEAD "kind big\n" REST, "malformed value \"big\"" },
  { "31st of February", "chainlift-manifest 1\npoint 20260231T010000Z\n",
    "malformed" },
  { "point with a path", "chainlift-manifest 1\npoint ../20261120T010000Z\n",
    "malformed" },
  { "parent without increment",
    HEAD FULL "parent 20261119T010000Z\n" REST DISK_OF (DISK1, "full", "0"),
    "do not fit" },
  { "increment without parent",
    HEAD "kind increment\n" REST DISK_OF (DISK1, "increment", "0"),
    "do not fit" },
  { "own parent",
    HEAD "kind increment\nparent 20261120T010000Z\n" REST DISK_OF (
        DISK1, "increment", "0"),
    "own parent" },
  { "increment in a full", HEAD FULL REST DISK_OF (DISK1, "increment", "0"),
    "in a full point" },
  { "zeros in a full", HEAD FULL REST DISK_OF (DISK1, "full", "65536"),
    "zero clusters" },
  { "base outside", GOOD "disk.base ../../../../etc\n", "malformed" },
  { "base without digest", GOOD "disk.base " DISK2 "\n", "do not fit" },
  { "digest without base", GOOD "disk.base.digest " HEX "\n", "do not fit" },
  { "increment over a base",
    HEAD "kind increment\nparent 20261119T010000Z\n" REST DISK_OF (
        DISK1, "increment", "0") "disk.base " DISK2 "\n"
                                 "disk.base.digest " HEX "\n",
    "over a template's base" },
  { "disk twice",
    HEAD FULL REST DISK_OF (DISK1, "full", "0") DISK_OF (DISK1, "full", "0"),
    "it stands twice" },
  { "file of another name",
    HEAD FULL REST "disk " DISK1 "\n"
                   "disk.kind full\n"
                   "disk.bootable yes\n"
                   "disk.active yes\n"
                   "disk.read-only no\n"
                   "disk.wipe-after-delete no\n"
                   "disk.pass-discard no\n"
                   "disk.format cow\n"
                   "disk.sparse yes\n"
                   "disk.virtual-size 1049088\n"
                   "disk.provisioned-size 1049088\n"
                   "disk.file /etc/shadow\n"
                   "disk.file.bytes 1\n"
                   "disk.data 0\n"
                   "disk.zero 0\n"
                   "disk.sum " DISK1 ".sum\n"
                   "disk.sum.digest " HEX "\n",
    "not named after it" },
  { "file with a path", GOOD "file ../vm.ovf\n", "malformed" },
  { "hidden file", GOOD "file .ovf\n", "malformed" },
  { "manifest as a file", GOOD "file manifest\n", "malformed" },
  { "absolute file", GOOD "file /etc/passwd\n", "malformed" },
  { "file without digest", GOOD "file vm.ovf\nfile.bytes 1\n",
    "file.digest is missing" },
  { "negative number", GOOD "file vm.ovf\nfile.bytes -1\n", "malformed" },
  { "number too large", GOOD "file vm.ovf\nfile.bytes 99999999999999999999\n",
    "malformed" },
  { "number with zeros", GOOD "file vm.ovf\nfile.bytes 01\n", "malformed" },
  { "short digest", GOOD "file vm.ovf\nfile.bytes 1\nfile.digest abcd\n",
    "malformed" },
  { "upper case digest",
    GOOD "file vm.ovf\nfile.bytes 1\n"
         "file.digest 00112233445566778899AABBCCDDEEFF\n",
    "malformed" },
  { "text behind end", GOOD "end " HEX "\n", "end is not known" },
};

static void
test_hostile (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (hostile); i++) {
    struct fault f = FAULT_INIT;
    struct manifest *m = NULL;

    if (parse_sealed (hostile[i].text, &m, &f) == 0)
      fail_msg ("%s: accepted", hostile[i].name);
    if (f.code != FAULT_CORRUPT || strstr (f.text, hostile[i].message) == NULL)
      fail_msg ("%s: %s", hostile[i].name, f.text);
    assert_null (m);
  }
}

/* A full over a template's base has zero clusters. */
static void
test_base (void **state)
{
  struct fault f = FAULT_INIT;
  struct manifest *m = NULL;
  struct manifest *back = NULL;
  char *text;
  size_t size;

  (void)state;
  if (parse_sealed (HEAD FULL REST DISK_OF (
                        DISK1, "full", "65536") "disk.base " DISK2
                                                "\ndisk.base.digest " HEX "\n",
                    &m, &f)
      < 0)
    fail_msg ("%s", f.text);
  assert_string_equal (m->disks[0].base, DISK2);
  text = manifest_format (m, &size, NULL);
  assert_int_equal (manifest_parse (text, size, &back, NULL), 0);
  assert_memory_equal (m->disks[0].base_digest, back->disks[0].base_digest,
                       DIGEST_SIZE);
  manifest_free (m);
  manifest_free (back);
  free (text);
}

/* A torn or changed file: every cut and every changed byte is found. */
static void
test_damage (void **state)
{
  struct manifest *m = NULL;
  size_t size;
  char *sealed = seal (GOOD, &size);

  (void)state;
  assert_int_equal (manifest_parse (sealed, size, &m, NULL), 0);
  manifest_free (m);
  for (size_t i = 0; i < size; i++) {
    if (manifest_parse (sealed, i, &m, NULL) == 0)
      fail_msg ("accepted when cut at %zu", i);
    sealed[i] ^= 1;
    if (manifest_parse (sealed, size, &m, NULL) == 0)
      fail_msg ("accepted with byte %zu changed", i);
    sealed[i] ^= 1;
  }
  free (sealed);
}

static void
test_limits (void **state)
{
  struct fault f = FAULT_INIT;
  struct manifest *m = NULL;
  struct buf b;
  size_t size;
  char *sealed;

  (void)state;
  /* Too large as a whole. */
  buf_init (&b, 2 * MANIFEST_MAX);
  buf_put (&b, GOOD, strlen (GOOD));
  while (b.size <= MANIFEST_MAX)
    buf_printf (&b, "x-fill %01000d\n", 7);
  buf_put_u8 (&b, 0);
  sealed = seal ((const char *)b.data, &size);
  assert_int_equal (manifest_parse (sealed, size, &m, &f), -1);
  assert_non_null (strstr (f.text, "at most"));
  free (sealed);
  /* A value too long, also in a key that is ignored. */
  fault_reset (&f);
  buf_clear (&b);
  buf_printf (&b, "%sx-long %0*d%c", HEAD FULL REST,
              (int)MANIFEST_VALUE_MAX + 1, 7, '\n');
  buf_put_u8 (&b, 0);
  assert_int_equal (parse_sealed ((const char *)b.data, &m, &f), -1);
  assert_non_null (strstr (f.text, "longer than"));
  /* Too many entries. */
  fault_reset (&f);
  buf_clear (&b);
  buf_printf (&b, "%s", HEAD FULL REST);
  for (unsigned i = 0; i <= MANIFEST_TAGS_MAX; i++)
    buf_printf (&b, "tag t%u\n", i);
  buf_put_u8 (&b, 0);
  assert_int_equal (parse_sealed ((const char *)b.data, &m, &f), -1);
  assert_non_null (strstr (f.text, "more than 256"));
  buf_reset (&b);
  /* What begins with x- is ignored, anywhere and as often as it likes. */
  assert_int_equal (parse_sealed (HEAD FULL "x-a 1\nx-a 1\n" REST DISK_OF (
                                      DISK1, "full", "0") "x-b.c 2\n",
                                  &m, NULL),
                    0);
  assert_int_equal (m->disk_count, 1);
  manifest_free (m);
}

static void
write_file (int dir, const char *text, size_t size)
{
  int fd = openat (dir, MANIFEST_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (fdio_write_full (fd, text, size, "manifest", NULL), 0);
  close (fd);
}

static void
test_load (void **state)
{
  char path[] = "/tmp/chainlift-unit-XXXXXX";
  struct fault f = FAULT_INIT;
  struct manifest *m = NULL;
  size_t size;
  char *sealed = seal (GOOD, &size);
  int dir;

  (void)state;
  assert_non_null (mkdtemp (path));
  dir = open (path, O_RDONLY | O_DIRECTORY);
  assert_int_equal (manifest_load (dir, VM, "20261120T010000Z", &m, &f), -1);
  assert_int_equal (f.code, FAULT_NOTFOUND);
  write_file (dir, sealed, size);
  fault_reset (&f);
  assert_int_equal (manifest_load (dir, VM, "20261120T010000Z", &m, &f), 0);
  manifest_free (m);
  /* One that was copied into the folder of another point or VM. */
  assert_int_equal (manifest_load (dir, VM, "20261121T010000Z", &m, &f), -1);
  assert_int_equal (f.code, FAULT_CORRUPT);
  fault_reset (&f);
  assert_int_equal (manifest_load (dir, DISK1, "20261120T010000Z", &m, &f), -1);
  assert_int_equal (f.code, FAULT_CORRUPT);
  /* A link is not followed. */
  fault_reset (&f);
  assert_int_equal (renameat (dir, MANIFEST_NAME, dir, "other"), 0);
  assert_int_equal (symlinkat ("other", dir, MANIFEST_NAME), 0);
  assert_int_equal (manifest_load (dir, VM, "20261120T010000Z", &m, &f), -1);
  assert_int_equal (f.code, FAULT_IO);
  free (sealed);
  close (dir);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, path, NULL), 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_round_trip), cmocka_unit_test (test_format_refuses),
    cmocka_unit_test (test_hostile),    cmocka_unit_test (test_base),
    cmocka_unit_test (test_damage),     cmocka_unit_test (test_limits),
    cmocka_unit_test (test_load),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
