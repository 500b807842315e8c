/* SPDX-License-Identifier: Apache-2.0 */
/* Who can write the configuration can run commands as us (password_command),
   so owner and mode are looked at on the open descriptor, never by name. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fdio.h"
#include "base/xmem.h"
#include "conf/guarded.h"

static int
check_owner (const char *path, const struct stat *st, mode_t forbidden,
             struct fault *f)
{
  if (!S_ISREG (st->st_mode))
    return fault_set (f, FAULT_CONF, 0, "%s: not a regular file", path);
  if (st->st_uid != 0 && st->st_uid != geteuid ())
    return fault_set (f, FAULT_CONF, 0,
                      "%s: belongs to user %u; it must belong to root or to "
                      "the user that runs chainlift",
                      path, (unsigned)st->st_uid);
  if ((st->st_mode & forbidden) != 0)
    return fault_set (f, FAULT_CONF, 0,
                      "%s: mode %04o lets others %s it; use chmod %s", path,
                      (unsigned)(st->st_mode & 07777),
                      (forbidden & 044) != 0 ? "read" : "change",
                      (forbidden & 044) != 0 ? "0600" : "go-w");
  return 0;
}

char *
guarded_read (const char *path, size_t max, mode_t forbidden, size_t *size,
              struct fault *f)
{
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_FREE char *text = NULL;
  struct stat st;

  fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    fault_set (f, errno == ENOENT ? FAULT_NOTFOUND : FAULT_CONF, errno,
               "open %s", path);
    return NULL;
  }
  if (fstat (fd, &st) != 0) {
    fault_set (f, FAULT_IO, errno, "stat %s", path);
    return NULL;
  }
  if (check_owner (path, &st, forbidden, f) != 0)
    return NULL;
  if ((uint64_t)st.st_size > max) {
    fault_set (f, FAULT_CONF, 0, "%s: larger than %zu bytes", path, max);
    return NULL;
  }
  text = xcalloc (1, (size_t)st.st_size + 1);
  if (st.st_size > 0
      && fdio_pread_full (fd, text, (size_t)st.st_size, 0, path, f) != 0)
    return NULL;
  if (size != NULL)
    *size = (size_t)st.st_size;
  return steal_ptr (&text);
}
