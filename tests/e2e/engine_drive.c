/* SPDX-License-Identifier: Apache-2.0 */
/* The engine client by hand: one command a line on stdin, its words separated
   by tabs; the results as lines, then "." or "! CODE TEXT".

     engine_drive URL CA USER PASSWORD RUN-ID POLL-MS RETRY-S BUSY-S */
#include <config.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/xmem.h"
#include "engine/cluster.h"
#include "engine/disk.h"
#include "engine/domain.h"
#include "engine/host.h"
#include "engine/login.h"
#include "engine/ovf.h"
#include "engine/snapshot.h"
#include "engine/task.h"
#include "engine/transfer.h"
#include "engine/vm.h"

#define WORDS_MAX 64
#define THREADS_MAX 32

struct command {
  const char *name;
  int words; /* that it needs after its name */
  int (*run) (struct engine *e, char **w, int count, struct fault *f);
};

static int
do_about (struct engine *e, char **w, int count, struct fault *f)
{
  const struct login_about *a = login_about (e);

  (void)w;
  (void)count;
  (void)f;
  printf ("%u.%u.%u %s %s\n", a->major, a->minor, a->build, a->full_version,
          a->instance_id);
  return 0;
}

static void
print_disk (const struct disk *d)
{
  printf ("disk %s %s %s %s %llu %s %s vm=%s alias=%s description=%s\n", d->id,
          d->volume_id, d->format == DISK_FORMAT_RAW ? "raw" : "cow",
          d->sparse ? "sparse" : "preallocated",
          (unsigned long long)d->provisioned_size, d->status,
          d->domain_count > 0 ? d->domain_ids[0] : "-", d->vm_id, d->alias,
          d->description);
}

static void
print_vm (const struct vm *vm)
{
  printf ("vm %s %s host=%s cluster=%s template=%s name=%s\n", vm->id,
          vm->status, vm->host_id, vm->cluster_id, vm->template_id, vm->name);
  for (size_t i = 0; i < vm->disk_count; i++) {
    printf (" %s boot=%d active=%d ", vm->disks[i].interface,
            vm->disks[i].bootable, vm->disks[i].active);
    print_disk (&vm->disks[i].disk);
  }
  for (size_t i = 0; i < vm->nic_count; i++)
    printf (" nic %s %s %s %s\n", vm->nics[i].name, vm->nics[i].mac,
            vm->nics[i].interface, vm->nics[i].profile_id);
  for (size_t i = 0; i < vm->tag_count; i++)
    printf (" tag %s\n", vm->tags[i]);
}

static int
do_vms (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (vm_list_free) struct vm_list *list = NULL;

  (void)w;
  (void)count;
  if (vm_list (e, &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++)
    print_vm (&list->items[i]);
  return 0;
}

static int
do_vm (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (vm_free) struct vm *vm = NULL;

  (void)count;
  if (vm_get (e, w[0], &vm, f) < 0)
    return -1;
  print_vm (vm);
  return 0;
}

static int
do_inventory (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (host_list_free) struct host_list *hosts = NULL;
  CLEANUP (cluster_list_free) struct cluster_list *clusters = NULL;
  CLEANUP (domain_list_free) struct domain_list *domains = NULL;
  char dir[DOMAIN_DIR_MAX];

  (void)w;
  (void)count;
  if (host_list (e, &hosts, f) < 0 || cluster_list (e, &clusters, f) < 0
      || domain_list (e, &domains, f) < 0)
    return -1;
  for (size_t i = 0; i < hosts->count; i++)
    printf ("host %s %s %s:%u %s %s spm=%d\n", hosts->items[i].name,
            hosts->items[i].status, hosts->items[i].address,
            hosts->items[i].ssh_port, hosts->items[i].public_key,
            hosts->items[i].fingerprint, hosts->items[i].is_spm);
  for (size_t i = 0; i < clusters->count; i++)
    printf ("cluster %s %u.%u %s\n", clusters->items[i].name,
            clusters->items[i].major, clusters->items[i].minor,
            clusters->items[i].center_id);
  for (size_t i = 0; i < domains->count; i++) {
    if (domain_dir (&domains->items[i], dir, f) < 0)
      return -1;
    printf ("domain %s %s %s v%u %s\n", domains->items[i].name,
            domain_kind_name (domains->items[i].kind), domains->items[i].status,
            domains->items[i].format, dir);
  }
  return 0;
}

static int
do_disk (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (disk_free) struct disk *disk = NULL;

  (void)count;
  if (disk_get (e, w[0], &disk, f) < 0)
    return -1;
  print_disk (disk);
  return 0;
}

static int
do_layers (struct engine *e, char **w, int count, struct fault *f)
{
  struct disk_layers_query q = { .disk_id = w[0],
                                 .volume_id = w[1],
                                 .domain_id = w[2],
                                 .vm_id = w[3],
                                 .template_id = w[4] };
  CLEANUP (disk_layers_free) struct disk_layers *layers = NULL;

  (void)count;
  if (disk_layers (e, &q, &layers, f) < 0)
    return -1;
  for (size_t i = 0; i < layers->count; i++)
    printf ("layer %s %s %s %s %s %llu\n", layers->items[i].volume_id,
            layers->items[i].disk_id,
            layers->items[i].format == DISK_FORMAT_COW ? "cow" : "raw",
            layers->items[i].is_template ? "template" : "own",
            layers->items[i].status,
            (unsigned long long)layers->items[i].provisioned_size);
  return 0;
}

static void
print_snapshot (const struct snapshot *s)
{
  printf ("snapshot %s %s %s %s %lld unfrozen=%d vm=%s %s\n", s->id, s->vm_id,
          s->status, s->type, (long long)s->date, s->unfrozen, s->vm_name,
          s->description);
}

static int
do_snapshots (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;

  (void)count;
  if (snapshot_list (e, w[0], &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++)
    print_snapshot (&list->items[i]);
  return 0;
}

static int
do_snapshots_ours (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (snapshot_list_free) struct snapshot_list *list = NULL;

  (void)count;
  if (snapshot_list_ours (e, w[0], &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++)
    print_snapshot (&list->items[i]);
  return 0;
}

static int
do_snapshot_create (struct engine *e, char **w, int count, struct fault *f)
{
  struct snapshot_create c = { .vm_id = w[0],
                               .description = w[1],
                               .disk_ids = (const char *const *)(w + 2),
                               .disk_count = (size_t)count - 2 };
  CLEANUP (snapshot_free) struct snapshot *s = NULL;
  char correlation[TASK_CORRELATION_SIZE];

  if (snapshot_create (e, &c, correlation, &s, f) < 0)
    return -1;
  printf ("correlation %s\n", correlation);
  print_snapshot (s);
  return 0;
}

static int
do_snapshot_wait (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (snapshot_free) struct snapshot *s = NULL;

  if (snapshot_wait (e, w[0], w[1], count > 2 ? w[2] : "", 60, &s, f) < 0)
    return -1;
  print_snapshot (s);
  return 0;
}

static int
do_snapshot_ovf (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP_FREE char *ovf = NULL;
  CLEANUP_FREE char *out = NULL;
  CLEANUP (ovf_disks_free) struct ovf_disks *disks = NULL;
  CLEANUP_CLOSE int fd
      = open (w[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  char id[UUID_SIZE];

  (void)count;
  if (snapshot_get_ovf (e, w[0], w[1], &ovf, f) < 0
      || ovf_disks (ovf, &disks, f) < 0 || ovf_vm_id (ovf, id, f) < 0
      || ovf_strip (ovf, &out, f) < 0
      || fdio_write_full (fd, out, strlen (out), w[2], f) < 0)
    return -1;
  printf ("ovf %s %zu\n", id, disks->count);
  for (size_t i = 0; i < disks->count; i++)
    printf ("layer %s %s parent=%s\n", disks->items[i].disk_id,
            disks->items[i].volume_id, disks->items[i].parent_id);
  return 0;
}

static int
do_vm_ovf (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP_FREE char *ovf = NULL;

  (void)count;
  if (vm_get_ovf (e, w[0], &ovf, f) < 0)
    return -1;
  printf ("ovf %zu\n", strlen (ovf));
  return 0;
}

static int
do_snapshot_disks (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *list = NULL;

  (void)count;
  if (snapshot_disks (e, w[0], w[1], &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++)
    print_disk (&list->items[i]);
  return 0;
}

static int
do_snapshot_delete (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  return snapshot_delete (e, w[0], w[1], 120, f);
}

static int
do_disk_create (struct engine *e, char **w, int count, struct fault *f)
{
  struct disk_create c
      = { .id = w[0],
          .volume_id = w[1],
          .alias = w[2],
          .description = w[3],
          .domain_id = w[4],
          .format
          = strcmp (w[5], "raw") == 0 ? DISK_FORMAT_RAW : DISK_FORMAT_COW,
          .sparse = true,
          .provisioned_size = strtoull (w[6], NULL, 10) };
  CLEANUP (disk_free) struct disk *disk = NULL;

  (void)count;
  if (disk_create (e, &c, &disk, f) < 0)
    return -1;
  print_disk (disk);
  return 0;
}

static int
do_disk_delete (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  return disk_delete (e, w[0], f);
}

static int
do_disks_ours (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (disk_list_free) struct disk_list *list = NULL;

  (void)count;
  if (disk_list_ours (e, w[0], &list, f) < 0)
    return -1;
  for (size_t i = 0; i < list->count; i++)
    print_disk (&list->items[i]);
  return 0;
}

static int
do_vm_create (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP_FREE char *ovf = fdio_slurp (AT_FDCWD, w[4], OVF_SIZE_MAX, NULL, f);
  struct vm_create c = { .name = w[0],
                         .cluster_id = w[1],
                         .description = w[2],
                         .regenerate_ids = strcmp (w[3], "new") == 0,
                         .ovf = ovf };
  char id[UUID_SIZE];

  (void)count;
  if (ovf == NULL || vm_create_from_ovf (e, &c, id, f) < 0)
    return -1;
  printf ("vm %s\n", id);
  return 0;
}

static int
do_vm_attach (struct engine *e, char **w, int count, struct fault *f)
{
  struct vm_disk a
      = { .active = true, .bootable = true, .interface = "virtio_scsi" };

  (void)count;
  snprintf (a.disk.id, sizeof a.disk.id, "%s", w[1]);
  return vm_attach_disk (e, w[0], &a, f);
}

static int
do_vm_detach (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  return vm_detach_disk (e, w[0], w[1], f);
}

static int
do_vm_update (struct engine *e, char **w, int count, struct fault *f)
{
  struct vm_update u = { .name = w[1], .description = w[2] };

  (void)count;
  return vm_update (e, w[0], &u, f);
}

static int
do_vm_update_disk (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  return vm_update_disk (e, w[0], w[1], w[2], f);
}

static int
do_vm_start (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  return vm_start (e, w[0], f);
}

static int
do_vm_delete (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  return vm_delete (e, w[0], f);
}

static int
do_freeze (struct engine *e, char **w, int count, struct fault *f)
{
  (void)count;
  if (vm_freeze (e, w[0], f) < 0)
    return -1;
  return vm_thaw (e, w[0], f);
}

static int
do_lock (struct engine *e, char **w, int count, struct fault *f)
{
  struct transfer t;

  (void)count;
  if (transfer_lock (e, w[0], w[1], &t, f) < 0)
    return -1;
  printf ("transfer %s %s\n", t.id, t.phase);
  return 0;
}

static int
do_unlock (struct engine *e, char **w, int count, struct fault *f)
{
  struct transfer t = { .phase = "" };

  (void)count;
  snprintf (t.id, sizeof t.id, "%s", w[1]);
  snprintf (t.disk_id, sizeof t.disk_id, "%s", w[2]);
  return strcmp (w[0], "cancel") == 0 ? transfer_cancel (e, &t, f)
                                      : transfer_finalize (e, &t, f);
}

static int
do_last_event (struct engine *e, char **w, int count, struct fault *f)
{
  uint64_t id;

  (void)w;
  (void)count;
  if (task_last_event_id (e, &id, f) < 0)
    return -1;
  printf ("%llu\n", (unsigned long long)id);
  return 0;
}

static int
do_events (struct engine *e, char **w, int count, struct fault *f)
{
  CLEANUP (task_events_free) struct task_events *events = NULL;

  if (task_events_since (e, strtoull (w[0], NULL, 10), count > 1 ? w[1] : NULL,
                         &events, f)
      < 0)
    return -1;
  for (size_t i = 0; i < events->count; i++)
    printf ("event %llu %u %s %s\n", (unsigned long long)events->items[i].id,
            events->items[i].code, events->items[i].correlation,
            events->items[i].description);
  return 0;
}

/* Many threads on one engine. */
struct load {
  struct engine *engine;
  unsigned rounds;
  unsigned good;
};

static void *
load_thread (void *opaque)
{
  struct load *load = opaque;

  for (unsigned i = 0; i < load->rounds; i++) {
    CLEANUP (host_list_free) struct host_list *hosts = NULL;
    struct fault f = FAULT_INIT;
    char correlation[TASK_CORRELATION_SIZE];

    task_correlation (load->engine, correlation);
    if (host_list (load->engine, &hosts, &f) == 0 && hosts->count > 0)
      load->good++;
  }
  return NULL;
}

static int
do_threads (struct engine *e, char **w, int count, struct fault *f)
{
  struct load loads[THREADS_MAX];
  pthread_t threads[THREADS_MAX];
  unsigned n = (unsigned)atoi (w[0]);
  unsigned good = 0;

  (void)count;
  (void)f;
  if (n > THREADS_MAX)
    n = THREADS_MAX;
  for (unsigned i = 0; i < n; i++) {
    loads[i] = (struct load){ .engine = e, .rounds = (unsigned)atoi (w[1]) };
    if (pthread_create (&threads[i], NULL, load_thread, &loads[i]) != 0)
      abort ();
  }
  for (unsigned i = 0; i < n; i++) {
    pthread_join (threads[i], NULL);
    good += loads[i].good;
  }
  printf ("good %u\n", good);
  return 0;
}

static void *
cancel_thread (void *opaque)
{
  usleep ((useconds_t)(uintptr_t)opaque * 1000);
  cancel_request ();
  return NULL;
}

/* Stop all that follows in so many milliseconds. */
static int
do_cancel (struct engine *e, char **w, int count, struct fault *f)
{
  pthread_t thread;

  (void)e;
  (void)count;
  (void)f;
  if (pthread_create (&thread, NULL, cancel_thread,
                      (void *)(uintptr_t)atoi (w[0]))
      != 0)
    abort ();
  pthread_detach (thread);
  return 0;
}

static const struct command commands[] = {
  { "about", 0, do_about },
  { "vms", 0, do_vms },
  { "vm", 1, do_vm },
  { "vm-ovf", 1, do_vm_ovf },
  { "inventory", 0, do_inventory },
  { "disk", 1, do_disk },
  { "layers", 5, do_layers },
  { "snapshots", 1, do_snapshots },
  { "snapshots-ours", 1, do_snapshots_ours },
  { "snapshot-create", 3, do_snapshot_create },
  { "snapshot-wait", 2, do_snapshot_wait },
  { "snapshot-ovf", 3, do_snapshot_ovf },
  { "snapshot-disks", 2, do_snapshot_disks },
  { "snapshot-delete", 2, do_snapshot_delete },
  { "disk-create", 7, do_disk_create },
  { "disk-delete", 1, do_disk_delete },
  { "disks-ours", 1, do_disks_ours },
  { "vm-create", 5, do_vm_create },
  { "vm-attach", 2, do_vm_attach },
  { "vm-detach", 2, do_vm_detach },
  { "vm-update", 3, do_vm_update },
  { "vm-update-disk", 3, do_vm_update_disk },
  { "vm-start", 1, do_vm_start },
  { "vm-delete", 1, do_vm_delete },
  { "freeze", 1, do_freeze },
  { "lock", 2, do_lock },
  { "unlock", 3, do_unlock },
  { "last-event", 0, do_last_event },
  { "events", 1, do_events },
  { "threads", 2, do_threads },
  { "cancel", 1, do_cancel },
};

static int
dispatch (struct engine *e, char *line, struct fault *f)
{
  char *words[WORDS_MAX];
  char *save = NULL;
  int count = 0;

  line[strcspn (line, "\n")] = '\0';
  for (char *w = strtok_r (line, "\t", &save); w != NULL && count < WORDS_MAX;
       w = strtok_r (NULL, "\t", &save))
    words[count++] = w;
  for (size_t i = 0; count > 0 && i < sizeof commands / sizeof commands[0];
       i++) {
    if (strcmp (commands[i].name, words[0]) == 0
        && count - 1 >= commands[i].words)
      return commands[i].run (e, words + 1, count - 1, f);
  }
  return fault_set (f, FAULT_USAGE, 0, "no such command, or too few words");
}

static void
say (const struct fault *f)
{
  if (f->code == FAULT_NONE)
    puts (".");
  else
    printf ("! %s %s\n", fault_name (f->code), f->text);
  fflush (stdout);
}

int
main (int argc, char **argv)
{
  CLEANUP (login_close) struct engine *engine = NULL;
  CLEANUP_FREE char *line = NULL;
  struct fault f = FAULT_INIT;
  size_t size = 0;

  if (argc != 9)
    return FAULT_USAGE;
  log_setup ("engine_drive", LOG_LEVEL_DEBUG);
  if (cancel_setup (&f) == 0) {
    struct login_params params = { .url = argv[1],
                                   .ca_file = argv[2],
                                   .user = argv[3],
                                   .password = argv[4],
                                   .run_id = argv[5],
                                   .poll_ms = (unsigned)atoi (argv[6]),
                                   .retry_s = (unsigned)atoi (argv[7]),
                                   .busy_s = (unsigned)atoi (argv[8]) };

    login_open (&params, &engine, &f);
  }
  say (&f);
  if (f.code != FAULT_NONE)
    return (int)f.code;
  while (getline (&line, &size, stdin) > 0) {
    struct fault now = FAULT_INIT;

    dispatch (engine, line, &now);
    say (&now);
  }
  return 0;
}
