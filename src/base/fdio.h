/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes on file descriptors.  Short writes, EINTR and the
   order "write, fsync, rename, fsync the directory" live here and nowhere
   else.  PATH in these calls is only for messages, unless it says so. */
#ifndef FDIO_H
#define FDIO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct fault;

/* Read exactly SIZE bytes.  1 = done, 0 = end of stream before the first
   byte, -1 = error or end in the middle. */
int fdio_read_full (int fd, void *data, size_t size, const char *path,
                    struct fault *f);
/* Read at most SIZE bytes, what is there (at least 1); 0 at the end, -1. */
ssize_t fdio_read_some (int fd, void *data, size_t size, const char *path,
                        struct fault *f);
int fdio_write_full (int fd, const void *data, size_t size, const char *path,
                     struct fault *f);
/* Write all of IOV (changed by the call). */
int fdio_writev_full (int fd, struct iovec *iov, int count, const char *path,
                      struct fault *f);
/* Read exactly SIZE bytes at OFFSET; an earlier end of file is FAULT_IO. */
int fdio_pread_full (int fd, void *data, size_t size, uint64_t offset,
                     const char *path, struct fault *f);
/* Read up to SIZE bytes at OFFSET; the count (less only at end of file). */
ssize_t fdio_pread_upto (int fd, void *data, size_t size, uint64_t offset,
                         const char *path, struct fault *f);
int fdio_pwrite_full (int fd, const void *data, size_t size, uint64_t offset,
                      const char *path, struct fault *f);
int fdio_fsync (int fd, const char *path, struct fault *f);
/* Take an OFD write lock on SIZE bytes of FD from OFFSET on (0: all behind it),
   without waiting: 1 taken or ours already, 0 somebody else has it, -1 with
   errno.  It goes when the last copy of FD is closed. */
int fdio_lock (int fd, uint64_t offset, uint64_t size);
/* Give such bytes back. */
void fdio_unlock (int fd, uint64_t offset, uint64_t size);
/* Close *FD, set it to -1, and report what close says. */
int fdio_close (int *fd, const char *path, struct fault *f);

/* The whole file NAME below DIRFD (AT_FDCWD: a path) as a NUL-terminated
   string that the caller frees; larger than MAX bytes: FAULT_CORRUPT; absent:
   NULL with FAULT_NOTFOUND.  Never follows a symbolic link in its last
   component.  SIZE may be NULL. */
char *fdio_slurp (int dirfd, const char *name, size_t max, size_t *size,
                  struct fault *f);
/* Replace NAME below DIRFD by DATA so that after a crash the old or the new
   contents stand there: NAME.new, fsync, rename, fsync of the directory. */
int fdio_replace (int dirfd, const char *name, const void *data, size_t size,
                  mode_t mode, struct fault *f);
/* fsync the directory DIRFD. */
int fdio_sync_dir (int dirfd, const char *path, struct fault *f);
/* mkdir NAME below DIRFD unless it is there; fsync DIRFD when it was made. */
int fdio_mkdir (int dirfd, const char *name, mode_t mode, struct fault *f);
/* Open the directory NAME below DIRFD, no link followed; fd or -1. */
int fdio_open_dir (int dirfd, const char *name, struct fault *f);
/* Remove NAME below DIRFD with everything in it; absent is no fault. */
int fdio_remove_tree (int dirfd, const char *name, struct fault *f);

#endif /* FDIO_H */
