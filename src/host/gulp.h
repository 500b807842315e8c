/* SPDX-License-Identifier: Apache-2.0 */
/* Large reads of a socket for a library that reads 4 KiB at a time: while a
   thread is inside gulp_enter and gulp_leave, its recv of that one socket is
   served from a buffer, which is filled by one system call, and its poll knows
   of what is in there.  All other sockets and threads see the plain calls.

   libssh asks twice for each 4 KiB; this takes a quarter off the CPU time of
   receiving.  It is done by defining recv and poll in the program, which the
   library's calls then reach.  Where that is not so (a program that links
   otherwise, a sanitizer) all works as before, only slower. */
#ifndef GULP_H
#define GULP_H

struct gulp;

/* For the socket FD, which stays the caller's. */
struct gulp *gulp_new (int fd);
/* What is still in the buffer is lost.  NULL is a no-op. */
void gulp_free (struct gulp *g);
/* Between the two the calling thread makes no other use of sockets than
   through the library that G is for.  Not nested.  G may be NULL. */
void gulp_enter (struct gulp *g);
void gulp_leave (void);

#endif /* GULP_H */
