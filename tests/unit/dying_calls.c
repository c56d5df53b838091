#define _GNU_SOURCE /* syscall */
#include "unit/dying_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long calls, at_call;
static enum dying_kind kind_of_death;
static int writes_count;

void dying_arm(enum dying_kind kind, long at, int without_writes) {
    writes_count = !without_writes;
    kind_of_death = kind;
    atomic_store(&at_call, at);
    atomic_store(&calls, 0);
}

long dying_calls(void) {
    return atomic_load(&calls);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* 1 if this call is the one. */
static int begin(void) {
    long number = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&at_call);
    if (number != at || kind_of_death == DYING_FULL)
        return 0;
    if (kind_of_death == DYING_BEFORE)
        die();
    return 1;
}

static long end(int is_last, long result) {
    if (is_last)
        die();
    return result;
}

static int disk_is_full(void) {
    long at = atomic_load(&at_call);
    return kind_of_death == DYING_FULL && at > 0 && atomic_load(&calls) >= at;
}

/* Output and what is said on errors is not part of it. */
ssize_t write(int file, const void *bytes, size_t count) {
    if (file <= STDERR_FILENO)
        return syscall(SYS_write, file, bytes, count);
    int is_last = writes_count && begin();
    if (disk_is_full()) {
        if (count > 1)
            return syscall(SYS_write, file, bytes, count / 2);
        errno = ENOSPC;
        return -1;
    }
    if (is_last && kind_of_death == DYING_WITHIN)
        count = count / 2;
    return end(is_last, syscall(SYS_write, file, bytes, count));
}

int fsync(int file) {
    int is_last = begin();
    return (int)end(is_last, syscall(SYS_fsync, file));
}

int rename(const char *from, const char *to) {
    int is_last = begin();
    return (int)end(is_last, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char *path) {
    int is_last = begin();
    return (int)end(is_last, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int ftruncate(int file, off_t length) {
    int is_last = begin();
    return (int)end(is_last, syscall(SYS_ftruncate, file, length));
}

int mkdir(const char *path, mode_t mode) {
    int is_last = begin();
    return (int)end(is_last, syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
