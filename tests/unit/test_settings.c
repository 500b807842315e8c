/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "conf/secret.h"
#include "conf/settings.h"
#include "tests/unit/unit.h"

static char dir[] = "/tmp/test_settings.XXXXXX";

static int
set_up (void **state)
{
  (void)state;
  strcpy (dir + strlen (dir) - 6, "XXXXXX");
  return mkdtemp (dir) == NULL ? -1 : 0;
}

static int
tear_down (void **state)
{
  (void)state;
  return fdio_remove_tree (AT_FDCWD, dir, NULL);
}

static char *
put_file (const char *name, const char *text, mode_t mode)
{
  char *path = xasprintf ("%s/%s", dir, name);
  int fd = open (path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (fdio_write_full (fd, text, strlen (text), path, NULL), 0);
  assert_int_equal (fchmod (fd, mode), 0);
  close (fd);
  return path;
}

static struct settings *
load (const char *text, struct fault *f)
{
  CLEANUP_FREE char *path = put_file ("c.conf", text, 0644);
  struct settings *s = NULL;
  int rc = settings_load (path, &s, f);

  assert_int_equal (rc, s == NULL ? -1 : 0);
  return s;
}

static void
test_defaults (void **state)
{
  struct fault f = FAULT_INIT;
  CLEANUP (settings_free) struct settings *s = load ("", &f);

  (void)state;
  assert_non_null (s);
  assert_null (s->repository);
  assert_string_equal (s->ssh.user, "root");
  assert_int_equal (s->ssh.port, 0);
  assert_int_equal (s->ssh.heartbeat_s, 30);
  assert_int_equal (s->ssh.stall_timeout_s, 120);
  assert_int_equal (s->ssh.answer_timeout_s, 600);
  assert_int_equal (s->engine.poll_ms, 1000);
  assert_true (s->snapshot.keep);
  assert_int_equal (s->snapshot.kept_days, 8);
  assert_int_equal (s->snapshot.merges_per_domain, 2);
  assert_int_equal (s->transfer.streams, 2);
  assert_true (s->transfer.bandwidth == 0);
  assert_int_equal (settings_need_repository (s, &f), -1);
  assert_non_null (strstr (f.text, "c.conf: repository is missing"));
  fault_reset (&f);
  assert_int_equal (settings_need_engine (s, &f), -1);
  assert_non_null (strstr (f.text, "engine.url is missing"));
  fault_reset (&f);
  assert_int_equal (settings_need_ssh (s, &f), -1);
  assert_int_equal (f.code, FAULT_CONF);
}

static void
test_every_key (void **state)
{
  struct fault f = FAULT_INIT;
  struct settings_login login;
  CLEANUP (settings_free)
  struct settings *s = load (
      "repository = \"/srv/r\";\nrestore_lock = \"none\";\n"
      "engine = { url = \"https://e/ovirt-engine/api/\"; ca_file = \"/ca\";\n"
      "  user = \"a@b\"; password_command = \"x y\"; retry = 7; busy = 9;\n"
      "  poll_ms = 100; };\n"
      "ssh = { user = \"bk\"; port = 2222; key_file = \"/k\"; sudo = true;\n"
      "  helper_path = \"/h\"; connect_timeout = 1; stall_timeout = 40;\n"
      "  heartbeat = 5; };\n"
      "hosts = ( { name = \"n1\"; address = \"10.0.0.1\"; port = 1;\n"
      "  user = \"root\"; sudo = false; }, { name = \"n2\"; } );\n"
      "snapshot = { keep = true; differential = true; guard = \"attach\";\n"
      "  guard_vm = \"keeper\";\n"
      "  kept_days = 40; merges_per_domain = 3; quiesce = \"require\"; };\n"
      "retention = { last = 1; daily = 2; weekly = 3; monthly = 4;\n"
      "  yearly = 5; };\n"
      "transfer = { transport = \"ssh\"; streams = 4; per_host = 5;\n"
      "  bandwidth = \"100M\"; lane_ports = \"54400-54420\"; };\n",
      &f);

  (void)state;
  assert_string_equal (f.text, "");
  assert_non_null (s);
  assert_string_equal (s->repository, "/srv/r");
  assert_int_equal (s->restore_lock, SETTINGS_LOCK_NONE);
  assert_string_equal (s->engine.url, "https://e/ovirt-engine");
  assert_string_equal (s->engine.ca_file, "/ca");
  assert_string_equal (s->engine.user, "a@b");
  assert_string_equal (s->engine.password_command, "x y");
  assert_null (s->engine.password_file);
  assert_int_equal (s->engine.retry_s, 7);
  assert_int_equal (s->engine.busy_s, 9);
  assert_int_equal (s->engine.poll_ms, 100);
  assert_string_equal (s->ssh.helper_path, "/h");
  assert_int_equal (s->ssh.connect_timeout_s, 1);
  assert_int_equal (s->snapshot.guard, SETTINGS_GUARD_ATTACH);
  assert_string_equal (s->snapshot.guard_vm, "keeper");
  assert_int_equal (s->snapshot.quiesce, SETTINGS_QUIESCE_REQUIRE);
  assert_true (s->snapshot.keep);
  assert_true (s->snapshot.differential);
  assert_int_equal (s->snapshot.kept_days, 40);
  assert_int_equal (s->retention.last, 1);
  assert_int_equal (s->retention.yearly, 5);
  assert_true (s->transfer.bandwidth == 100u << 20);
  assert_int_equal (s->transfer.lane_ports[0], 54400);
  assert_int_equal (s->transfer.lane_ports[1], 54420);
  settings_host_login (s, "n1", &login);
  assert_string_equal (login.address, "10.0.0.1");
  assert_string_equal (login.user, "root");
  assert_int_equal (login.port, 1);
  assert_false (login.sudo);
  settings_host_login (s, "n2", &login);
  assert_null (login.address);
  assert_string_equal (login.user, "bk");
  assert_int_equal (login.port, 2222);
  assert_true (login.sudo);
  settings_host_login (s, "other", &login);
  assert_string_equal (login.user, "bk");
}

struct bad {
  const char *text;
  const char *message; /* what follows the folder and '/' */
};

static const struct bad bads[] = {
  { "\nrepository = \"r\";", "c.conf:2: repository: must be an absolute path" },
  { "repository = 5;",
    "c.conf:1: repository: must be a string in double quotes" },
  { "repository = \"\";",
    "c.conf:1: repository: must not be empty and must not "
    "hold control characters" },
  { "repository = \"/a\\nb\";", "c.conf:1: repository: must not be empty and "
                                "must not hold control characters" },
  { "repository = \"/a\"", NULL },
  { "repository = ;", "c.conf:1: syntax error" },
  { "repository = \"/a\";\nrepository = \"/b\";",
    "c.conf:2: duplicate setting name" },
  { "repo = \"/a\";", "c.conf:1: repo: unknown key; see chainlift.conf(5)" },
  { "repositry = \"/a\";",
    "c.conf:1: repositry: unknown key; did you mean repository?" },
  { "engin = { };", "c.conf:1: engin: unknown key; did you mean engine?" },
  { "engine = {\n  ulr = \"x\";\n};",
    "c.conf:2: engine.ulr: unknown key; did you mean url?" },
  { "engine = { password = \"x\"; };",
    "c.conf:1: engine.password: a password is not kept here; use "
    "password_file or password_command" },
  { "engine = \"x\";", "c.conf:1: engine: must be a group in braces" },
  { "engine = {\n password_file = \"/a\";\n password_command = \"b\"; };",
    "c.conf:3: engine.password_command: not together with password_file" },
  { "engine = { url = \"http://e\"; };",
    "c.conf:1: engine.url: must begin with https://" },
  { "engine = { url = \"https://\"; };",
    "c.conf:1: engine.url: must be https://NAME/ovirt-engine" },
  { "engine = { url = \"https://u:p@e/\"; };",
    "c.conf:1: engine.url: must be https://NAME/ovirt-engine" },
  { "engine = { user = \"admin\"; };",
    "c.conf:1: engine.user: needs its profile, as \"backup@internal\"" },
  { "engine = { retry = 0; };",
    "c.conf:1: engine.retry: must be a number from 1 to 86400" },
  { "engine = { retry = \"5\"; };",
    "c.conf:1: engine.retry: must be a number from 1 to 86400" },
  { "engine = { retry = 1.5; };",
    "c.conf:1: engine.retry: must be a number from 1 to 86400" },
  { "ssh = { port = 65536; };",
    "c.conf:1: ssh.port: must be a number from 1 to 65535" },
  { "ssh = { port = 18446744073709551617L; };",
    "c.conf:1: ssh.port: must be a number from 1 to 65535" },
  { "ssh = { port = -1; };",
    "c.conf:1: ssh.port: must be a number from 1 to 65535" },
  { "ssh = { user = \"-oProxyCommand=x\"; };",
    "c.conf:1: ssh.user: is no user name" },
  { "ssh = { user = \"a b\"; };", "c.conf:1: ssh.user: is no user name" },
  { "ssh = { sudo = 1; };", "c.conf:1: ssh.sudo: must be true or false" },
  { "ssh = { stall_timeout = 10; };",
    "c.conf: ssh.stall_timeout: must not be below ssh.heartbeat (30)" },
  { "hosts = { };",
    "c.conf:1: hosts: must be a list as ( { name = \"node1\"; } )" },
  { "hosts = ( { port = 1; } );", "c.conf:1: hosts.entry: has no name" },
  { "hosts = ( 5 );",
    "c.conf:1: hosts.entry: must be a group as { name = \"node1\"; }" },
  { "hosts = ( { name = \"a\"; },\n { name = \"a\"; } );",
    "c.conf:2: hosts.entry: names a host that was named before" },
  { "hosts = ( { name = \"a\"; key = 1; } );",
    "c.conf:1: hosts.key: unknown key; see chainlift.conf(5)" },
  { "snapshot = { guard = \"lock\"; };",
    "c.conf:1: snapshot.guard: must be one of \"none\", \"attach\"" },
  { "snapshot = { keep = false; differential = true; };",
    "c.conf: snapshot.differential: needs snapshot.keep = true" },
  { "snapshot = { guard = \"attach\"; };",
    "c.conf: snapshot.guard: needs snapshot.guard_vm, the name of a VM without "
    "disks that stays down" },
  { "snapshot = { keep = \"yes\"; };",
    "c.conf:1: snapshot.keep: must be true or false" },
  { "transfer = { transport = \"lane\"; };",
    "c.conf: transfer.transport: this version knows \"ssh\" only" },
  { "transfer = { bandwidth = \"fast\"; };",
    "c.conf:1: transfer.bandwidth: must be a number of bytes, or a string "
    "as \"100M\"" },
  { "transfer = { bandwidth = \"10MB\"; };",
    "c.conf:1: transfer.bandwidth: must be a number of bytes, or a string "
    "as \"100M\"" },
  { "transfer = { bandwidth = 1000; };",
    "c.conf:1: transfer.bandwidth: must be 0 (no limit) or at least \"64K\"" },
  { "transfer = { bandwidth = -1; };",
    "c.conf:1: transfer.bandwidth: must be a number of bytes, or a string "
    "as \"100M\"" },
  { "transfer = { lane_ports = \"100-200\"; };",
    "c.conf:1: transfer.lane_ports: must be \"FIRST-LAST\" with ports from "
    "1024 to 65535" },
  { "transfer = { lane_ports = \"2000-1999\"; };",
    "c.conf:1: transfer.lane_ports: must be \"FIRST-LAST\" with ports from "
    "1024 to 65535" },
  { "# first\n  @include \"/etc/passwd\"\n",
    "c.conf:2: @include is not allowed; put the file into conf.d" },
};

static void
test_bad (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (bads); i++) {
    struct fault f = FAULT_INIT;
    CLEANUP (settings_free) struct settings *s = load (bads[i].text, &f);

    if (bads[i].message == NULL) {
      assert_non_null (s);
      continue;
    }
    assert_null (s);
    assert_int_equal (f.code, FAULT_CONF);
    assert_string_equal (f.text + strlen (dir) + 1, bads[i].message);
  }
}

static void
test_parts (void **state)
{
  CLEANUP_FREE char *sub = xasprintf ("%s/conf.d", dir);
  struct fault f = FAULT_INIT;

  (void)state;
  assert_int_equal (mkdir (sub, 0700), 0);
  free (put_file ("conf.d/20.conf",
                  "ssh = { port = 20; };\n"
                  "engine = { password_command = \"c\"; };",
                  0600));
  free (put_file ("conf.d/10.conf",
                  "ssh = { port = 10; user = \"ten\"; };\n"
                  "hosts = ( { name = \"a\"; port = 7; },"
                  " { name = \"b\"; } );",
                  0600));
  free (put_file ("conf.d/readme", "not = read", 0600));
  {
    CLEANUP (settings_free)
    struct settings *s = load ("ssh = { port = 1; };\n"
                               "engine = { password_file = \"/f\"; };\n"
                               "hosts = ( { name = \"a\"; user = \"u\"; } );",
                               &f);

    assert_string_equal (f.text, "");
    assert_int_equal (s->ssh.port, 20);
    assert_string_equal (s->ssh.user, "ten");
    assert_null (s->engine.password_file);
    assert_string_equal (s->engine.password_command, "c");
    assert_int_equal (s->host_count, 2);
    assert_int_equal (s->hosts[0].port, 7);
    assert_string_equal (s->hosts[0].user, "u");
  }
  free (put_file ("conf.d/30.conf", "\n\nx = 1;", 0600));
  assert_null (load ("", &f));
  assert_string_equal (f.text + strlen (dir),
                       "/conf.d/30.conf:3: x: unknown key; see "
                       "chainlift.conf(5)");
}

static void
test_files (void **state)
{
  CLEANUP_FREE char *none = xasprintf ("%s/none.conf", dir);
  CLEANUP_FREE char *open_file = put_file ("w.conf", "", 0664);
  struct settings *s = NULL;
  struct fault f = FAULT_INIT;

  (void)state;
  assert_int_equal (settings_load (none, &s, &f), -1);
  assert_int_equal (f.code, FAULT_CONF);
  assert_non_null (strstr (f.text, "none.conf: No such file"));
  fault_reset (&f);
  assert_int_equal (settings_load (open_file, &s, &f), -1);
  assert_non_null (strstr (f.text, "mode 0664 lets others change it; use "
                                   "chmod go-w"));
  fault_reset (&f);
  assert_int_equal (settings_load (dir, &s, &f), -1);
  assert_non_null (strstr (f.text, "not a regular file"));
}

struct secret_case {
  const char *command; /* NULL: the file with TEXT and MODE */
  const char *text;
  mode_t mode;
  const char *expect; /* the password, or NULL */
  const char *message;
};

static const struct secret_case secrets[] = {
  { NULL, "pass word\nsecond\n", 0600, "pass word", NULL },
  { NULL, "pw\r\n", 0400, "pw", NULL },
  { NULL, "pw", 0600, "pw", NULL },
  { NULL, "pw", 0640, NULL, "mode 0640 lets others read it; use chmod 0600" },
  { NULL, "\npw", 0600, NULL, "engine.password_file: its first line is empty" },
  { "printf 'a b\\nc\\n'", NULL, 0, "a b", NULL },
  { "printf '%s' \"$0\"", NULL, 0, "sh", NULL },
  { "echo x; exit 3", NULL, 0, NULL, "engine.password_command: exit status 3" },
  { "kill -9 $$", NULL, 0, NULL, "engine.password_command: ended by signal 9" },
  { "true", NULL, 0, NULL, "engine.password_command: its first line is empty" },
  { "head -c 9000 /dev/zero", NULL, 0, NULL,
    "engine.password_command: more than 4095 bytes" },
  { "cat", NULL, 0, NULL, "engine.password_command: its first line is empty" },
};

static void
test_secret (void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF (secrets); i++) {
    const struct secret_case *c = &secrets[i];
    CLEANUP_FREE char *path = put_file ("pw", c->text != NULL ? c->text : "",
                                        c->text != NULL ? c->mode : 0600);
    char command[64];
    struct settings s = { .file = path };
    struct fault f = FAULT_INIT;
    CLEANUP (secret_free) char *secret = NULL;

    s.engine.url = path;
    s.engine.user = path;
    snprintf (command, sizeof command, "%s",
              c->command != NULL ? c->command : "");
    if (c->command != NULL)
      s.engine.password_command = command;
    else
      s.engine.password_file = path;
    secret = secret_engine_password (&s, &f);
    if (c->expect != NULL) {
      assert_string_equal (f.text, "");
      assert_string_equal (secret, c->expect);
      continue;
    }
    assert_null (secret);
    assert_int_equal (f.code, FAULT_CONF);
    assert_non_null (strstr (f.text, c->message));
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown (test_defaults, set_up, tear_down),
    cmocka_unit_test_setup_teardown (test_every_key, set_up, tear_down),
    cmocka_unit_test_setup_teardown (test_bad, set_up, tear_down),
    cmocka_unit_test_setup_teardown (test_parts, set_up, tear_down),
    cmocka_unit_test_setup_teardown (test_files, set_up, tear_down),
    cmocka_unit_test_setup_teardown (test_secret, set_up, tear_down),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
