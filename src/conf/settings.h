/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: one libconfig file and the files of conf.d beside it,
   as checked values.  chainlift.conf(5) describes every key. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct fault;

#define SETTINGS_DEFAULT_FILE SYSCONFDIR "/chainlift/chainlift.conf"
/* Debian's file of all CAs */
#define SETTINGS_SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"
#define SETTINGS_HOSTS_MAX 4096

enum settings_guard {
  SETTINGS_GUARD_NONE,   /* watch only: t0, t1 and the events */
  SETTINGS_GUARD_ATTACH, /* an inactive attachment holds the snapshot */
};

enum settings_quiesce {
  SETTINGS_QUIESCE_AUTO,    /* the host asks the guest agent; best effort */
  SETTINGS_QUIESCE_REQUIRE, /* freeze by the engine, or no snapshot */
};

enum settings_lock {
  SETTINGS_LOCK_AUTO, /* disks on block storage */
  SETTINGS_LOCK_NONE,
  SETTINGS_LOCK_ALWAYS,
};

enum settings_transport {
  SETTINGS_TRANSPORT_SSH,  /* frames inside the SSH channels */
  SETTINGS_TRANSPORT_LANE, /* encrypted TCP streams keyed over SSH */
};

struct settings_engine {
  char *url;     /* https://NAME[:PORT]/ovirt-engine, no slash at the end */
  char *ca_file; /* the system's CA store unless set */
  char *user;    /* name@profile */
  char *password_file;    /* exactly one of these two is set */
  char *password_command; /* see secret.h */
  unsigned retry_s;       /* an engine without answer is waited for */
  unsigned busy_s;        /* what it refuses for a running operation is
                             tried again */
  unsigned poll_ms;       /* first interval of waits; grows tenfold */
};

struct settings_ssh {
  char *user;
  unsigned port; /* 0: the port that the engine knows */
  char *key_file;
  bool sudo;
  char *helper_path; /* on the host; NULL: the helper is pushed */
  unsigned connect_timeout_s;
  unsigned stall_timeout_s;  /* a stream without a byte is given up */
  unsigned answer_timeout_s; /* a living helper without an answer, too */
  unsigned heartbeat_s;      /* the helper ends when it hears nothing */
};

/* One entry of hosts: what differs from ssh for that host. */
struct settings_host {
  char *name;    /* of the host in the engine */
  char *address; /* NULL: as the engine says */
  unsigned port; /* 0: as ssh.port */
  char *user;    /* NULL: as ssh.user */
  int sudo;      /* -1: as ssh.sudo, else 0 or 1 */
};

struct settings_snapshot {
  bool keep;         /* for increments: the last snapshot stays */
  bool differential; /* build on the last full, whose snapshot stays */
  enum settings_guard guard;
  char *guard_vm;     /* name or id; set when guard is not none */
  unsigned kept_days; /* without a point: a kept snapshot is warned of */
  unsigned merges_per_domain;
  enum settings_quiesce quiesce;
};

/* How many points of each kind stay; all 0: nothing is ever removed. */
struct settings_retention {
  unsigned last;
  unsigned daily;
  unsigned weekly;
  unsigned monthly;
  unsigned yearly;
};

struct settings_transfer {
  enum settings_transport transport;
  unsigned streams;       /* SSH sessions a disk */
  unsigned per_host;      /* disks at once from one host */
  uint64_t bandwidth;     /* bytes a second of all streams; 0: no limit */
  unsigned lane_ports[2]; /* first and last TCP port; 0, 0: any */
};

struct settings {
  char *file;       /* the file that was read first */
  char *repository; /* absolute path */
  enum settings_lock restore_lock;
  struct settings_engine engine;
  struct settings_ssh ssh;
  struct settings_host *hosts; /* in the order of the files */
  size_t host_count;
  struct settings_snapshot snapshot;
  struct settings_retention retention;
  struct settings_transfer transfer;
};

/* Read PATH (NULL: SETTINGS_DEFAULT_FILE) and then conf.d/ *.conf in its
   folder, in the order of the C locale; a later file overrides an earlier
   one key by key, and adds hosts or overrides those of the same name.
   Unknown keys, wrong types, values out of range and missing keys are
   FAULT_CONF with file and line.  The caller frees *OUT with
   settings_free. */
int settings_load (const char *path, struct settings **out, struct fault *f);
void settings_free (struct settings *s);
CLEANUP_DEFINE (settings_free, struct settings);

/* Commands that work on the repository alone need no engine: settings_load
   checks only what is written.  These say what is missing (FAULT_CONF). */
int settings_need_repository (const struct settings *s, struct fault *f);
int settings_need_engine (const struct settings *s, struct fault *f);
int settings_need_ssh (const struct settings *s, struct fault *f);

/* What applies to the host NAME of the engine: OUT gets borrowed strings;
   port 0 and address NULL mean "as the engine says". */
struct settings_login {
  const char *address;
  const char *user;
  unsigned port;
  bool sudo;
};
void settings_host_login (const struct settings *s, const char *name,
                          struct settings_login *out);

#endif /* SETTINGS_H */
