/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no sshd: which host keys count, and the private key's file. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fdio.h"
#include "host/dial.h"
#include "host/hostkey.h"
#include "tests/unit/unit.h"

#define ED "ssh-ed25519 AAAAed"
#define RSA "ssh-rsa AAAArsa root@hv1"
#define EC "ecdsa-sha2-nistp256 AAAAec"
#define PRINT "SHA256:abcDEF"

static void
test_plan (void **state)
{
  static const struct {
    const char *pins[3];
    unsigned count;
    const char *first;
    const char *fault;
  } cases[] = {
    { { ED }, 1, "ssh-ed25519", NULL },
    { { RSA }, 1, "rsa-sha2-512,rsa-sha2-256", NULL },
    { { RSA, ED, EC }, 3, "ssh-ed25519", NULL },
    { { EC, EC }, 1, "ecdsa-sha2-nistp256", NULL },
    { { PRINT }, 5, "ssh-ed25519", NULL },
    { { PRINT, RSA }, 1, "rsa-sha2-512,rsa-sha2-256", NULL },
    { { "ssh-dss AAAA", ED }, 1, "ssh-ed25519", NULL },
    { { "ssh-dss AAAA" }, 0, NULL, "type ssh-dss" },
    { { "ssh-ed25519" }, 0, NULL, "not supported" },
    { { "" }, 0, NULL, "not supported" },
    { { NULL }, 0, NULL, "no SSH host key to compare" },
    { { "MD5:00:11" }, 0, NULL, "not supported" },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    struct fault f = FAULT_INIT;
    struct hostkey_plan plan;
    size_t count = 0;
    int ret;

    while (count < 3 && cases[i].pins[count] != NULL)
      count++;
    ret = hostkey_plan ("hv1", cases[i].pins, count, &plan, &f);
    if (cases[i].fault == NULL) {
      if (ret < 0 || plan.count != cases[i].count
          || strcmp (plan.algorithms[0], cases[i].first) != 0)
        fail_msg ("case %zu: %d %u %s", i, ret, plan.count, f.text);
    }
    else if (ret == 0 || f.code != FAULT_HOSTKEY
             || strstr (f.text, cases[i].fault) == NULL
             || strstr (f.text, "hv1") == NULL) {
      fail_msg ("case %zu: %d %s", i, ret, f.text);
    }
  }
}

static void
test_too_many_pins (void **state)
{
  const char *pins[HOSTKEY_PINS_MAX + 1];
  struct fault f = FAULT_INIT;
  struct hostkey_plan plan;

  (void)state;
  for (size_t i = 0; i < COUNT_OF (pins); i++)
    pins[i] = ED;
  assert_int_equal (hostkey_plan ("hv1", pins, HOSTKEY_PINS_MAX, &plan, &f), 0);
  assert_int_equal (hostkey_plan ("hv1", pins, COUNT_OF (pins), &plan, &f), -1);
  assert_int_equal (f.code, FAULT_HOSTKEY);
}

static void
test_pinned (void **state)
{
  static const struct {
    const char *pin;
    bool pinned;
  } cases[] = {
    { "ssh-rsa KEY", true },     { "ssh-rsa KEY comment here", true },
    { "ssh-rsa   KEY\n", true }, { "ssh-rsa KEYS", false },
    { "ssh-rsa KE", false },     { "ssh-rsa ", false },
    { "ssh-rsa", false },        { "KEY", false },
    { "x KEY", false },          { "", false },
    { "SHA256:PRINT", true },    { "SHA256:PRINT=", true },
    { "SHA256:PRINTS", false },  { "SHA256:", false },
    { "SHA256:print", false },
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF (cases); i++) {
    if (hostkey_pinned (&cases[i].pin, 1, "KEY", "SHA256:PRINT")
        != cases[i].pinned)
      fail_msg ("%s", cases[i].pin);
  }
  assert_false (hostkey_pinned (NULL, 0, "KEY", "SHA256:PRINT"));
}

/* Where test_key_file puts its files. */
static char dir[] = "/tmp/chainlift-test-XXXXXX";

static void
write_file (const char *name, size_t size, mode_t mode)
{
  char path[64];
  int fd;

  snprintf (path, sizeof path, "%s/%s", dir, name);
  fd = open (path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  assert_true (fd >= 0);
  assert_int_equal (fdio_pwrite_full (fd, "k", 1, size - 1, path, NULL), 0);
  assert_int_equal (fchmod (fd, mode), 0);
  close (fd);
}

static void
refused (const char *name, const char *why)
{
  struct fault f = FAULT_INIT;
  char path[64];

  snprintf (path, sizeof path, "%s/%s", dir, name);
  assert_null (dial_key_read (path, &f));
  assert_int_equal (f.code, FAULT_CONF);
  if (strstr (f.text, why) == NULL || strstr (f.text, path) == NULL)
    fail_msg ("%s", f.text);
}

static void
test_key_file (void **state)
{
  struct fault f = FAULT_INIT;
  char path[64];
  char *key;

  (void)state;
  assert_non_null (mkdtemp (dir));
  write_file ("good", 1, 0600);
  write_file ("group", 1, 0640);
  write_file ("world", 1, 0604);
  write_file ("large", DIAL_KEY_MAX + 1, 0600);
  write_file ("full", DIAL_KEY_MAX, 0400);
  refused ("group", "0640");
  refused ("world", "chmod 600");
  refused ("large", "at most");
  refused ("absent", "No such file");
  refused ("", "not a regular file");
  snprintf (path, sizeof path, "%s/good", dir);
  key = dial_key_read (path, &f);
  assert_string_equal (key, "k");
  dial_key_free (key);
  snprintf (path, sizeof path, "%s/full", dir);
  key = dial_key_read (path, &f);
  assert_non_null (key);
  assert_int_equal (key[DIAL_KEY_MAX - 1], 'k');
  dial_key_free (key);
  assert_int_equal (fdio_remove_tree (AT_FDCWD, dir, &f), 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_plan),
    cmocka_unit_test (test_too_many_pins),
    cmocka_unit_test (test_pinned),
    cmocka_unit_test (test_key_file),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
