#define _POSIX_C_SOURCE 200809L
#include "base/file_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static const char *advice(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "check the path";
    case EACCES:
    case EPERM:
        return "check the permissions of the file and its folder";
    case EROFS:
        return "choose a folder on a disk that can be written";
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return "free some space or choose another folder";
    case EISDIR:
        return "name a file, not a folder";
    case EEXIST:
        return "choose a name that does not exist yet";
    case ENAMETOOLONG:
        return "choose a shorter name";
    case EMFILE:
    case ENFILE:
        return "close other files or raise ulimit -n";
    default:
        return "check the disk";
    }
}

/* "cannot <verb> <path>: <system's reason>; <advice>". */
static bp_status fail_system(bp_status status, const char *verb, const char *path, int error) {
    char reason[128];
    if (strerror_r(error, reason, sizeof reason) != 0)
        snprintf(reason, sizeof reason, "error %d", error);
    return bp_fail(status, "cannot %s %s: %s; %s", verb, path, reason, advice(error));
}

/* Reads up to `count` bytes; *got is smaller only at the end of the file. Returns errno or 0. */
static int read_all(int file, uint8_t *bytes, size_t count, size_t *got) {
    *got = 0;
    while (*got < count) {
        ssize_t n = read(file, bytes + *got, count - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

static int write_all(int file, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    while (count > 0) {
        ssize_t n = write(file, at, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return EIO;
        at += n;
        count -= (size_t)n;
    }
    return 0;
}

static int sync_file(int file) {
    while (fsync(file) != 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

static bp_status read_open_file(int file, const char *path, size_t limit, bp_status failure,
                                uint8_t **bytes, size_t *count) {
    struct stat info;
    if (fstat(file, &info) != 0)
        return fail_system(failure, "read", path, errno);
    if (S_ISDIR(info.st_mode))
        return fail_system(failure, "read", path, EISDIR);
    if (!S_ISREG(info.st_mode))
        return bp_fail(failure, "cannot read %s: not a regular file; name a file on a disk", path);
    if ((uintmax_t)info.st_size > limit)
        return bp_fail(
            failure,
            "cannot read %s: it has %jd bytes, at most %zu are expected; is it the right "
            "file?",
            path, (intmax_t)info.st_size, limit);
    size_t size = (size_t)info.st_size, got;
    uint8_t *block;
    BP_TRY(bp_alloc(&block, size, path));
    int error = read_all(file, block, size, &got);
    if (error != 0 || got != size) {
        bp_free(block);
        if (error != 0)
            return fail_system(failure, "read", path, error);
        return bp_fail(failure,
                       "cannot read %s: it ended at byte %zu of %zu; another program changed it, "
                       "try again",
                       path, got, size);
    }
    *bytes = block;
    *count = size;
    return BP_OK;
}

bp_status bp_file_read(const char *path, size_t limit, bp_status failure, uint8_t **bytes,
                       size_t *count) {
    *bytes = NULL;
    *count = 0;
    /* Not blocking: opening a pipe without a writer must end in a message, not in waiting. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return fail_system(failure, "read", path, errno);
    bp_status status = read_open_file(file, path, limit, failure, bytes, count);
    close(file);
    return status;
}

size_t bp_file_peek(const char *path, uint8_t *bytes, size_t count) {
    struct stat info;
    size_t got = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return 0;
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) ||
        read_all(file, bytes, count, &got) != 0)
        got = 0;
    close(file);
    return got;
}

/* Creates a file of its own next to `path`: path.tmp-<process>-<number>. */
static int create_temporary(const char *path, char temporary[PATH_MAX], int *error) {
    for (int number = 0; number < 1000; number++) {
        snprintf(temporary, PATH_MAX, "%s.tmp-%ld-%d", path, (long)getpid(), number);
        int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file >= 0)
            return file;
        if (errno != EEXIST)
            break;
    }
    *error = errno;
    return -1;
}

/* 1 for names that create_temporary gives: anything, ".tmp-", digits, "-", digits. */
static int is_temporary(const char *name) {
    static const char mark[] = ".tmp-", digits[] = "0123456789";
    const char *at = NULL;
    for (const char *next = name; (next = strstr(next, mark)) != NULL; next++)
        at = next;
    if (at == NULL || at == name)
        return 0;
    const char *process = at + strlen(mark);
    size_t length = strspn(process, digits);
    if (length == 0 || process[length] != '-')
        return 0;
    const char *number = process + length + 1;
    return *number != 0 && number[strspn(number, digits)] == 0;
}

void bp_dir_remove_temporaries(const char *path) {
    DIR *folder = opendir(path);
    struct stat info;
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (is_temporary(entry->d_name) &&
            fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(info.st_mode))
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

/* A rename lasts through a crash once the folder itself is on the disk. Some file systems cannot
 * sync folders and say EINVAL; nothing more can be done there. */
static int sync_folder_of(const char *path, char *scratch) {
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    memcpy(scratch, path, length);
    scratch[length] = 0;
    int folder = open(length == 0 ? "." : scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return errno == EACCES ? 0 : errno; /* writable but not readable: cannot be synced */
    int error = sync_file(folder);
    close(folder);
    return error == EINVAL ? 0 : error;
}

static int write_temporary(int file, const struct bp_chunk *chunks, size_t n_chunks) {
    int error = 0;
    for (size_t i = 0; i < n_chunks && error == 0; i++)
        error = write_all(file, chunks[i].bytes, chunks[i].count);
    if (error == 0)
        error = sync_file(file);
    if (close(file) != 0 && error == 0 && errno != EINTR)
        error = errno;
    return error;
}

bp_status bp_file_write(const char *path, const struct bp_chunk *chunks, size_t n_chunks) {
    struct stat info;
    /* Renaming over a device or pipe would replace it. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return S_ISDIR(info.st_mode)
                   ? fail_system(BP_RESOURCE, "write", path, EISDIR)
                   : bp_fail(BP_RESOURCE,
                             "cannot write %s: not a regular file; name a file on a disk", path);
    char temporary[PATH_MAX];
    if (strlen(path) + 64 > sizeof temporary)
        return fail_system(BP_RESOURCE, "write", path, ENAMETOOLONG);
    int error = 0;
    int file = create_temporary(path, temporary, &error);
    if (file >= 0) {
        error = write_temporary(file, chunks, n_chunks);
        if (error == 0 && rename(temporary, path) != 0)
            error = errno;
        if (error != 0)
            unlink(temporary);
        else
            error = sync_folder_of(path, temporary);
    }
    return error == 0 ? BP_OK : fail_system(BP_RESOURCE, "write", path, error);
}

bp_status bp_file_write_text(const char *path, const char *text) {
    struct bp_chunk chunk = {text, strlen(text)};
    return bp_file_write(path, &chunk, 1);
}

bp_status bp_file_append(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0)
        return fail_system(BP_RESOURCE, "append to", path, errno);
    struct stat before;
    int error = fstat(file, &before) != 0 ? errno : 0;
    if (error == 0) {
        error = write_all(file, text, strlen(text));
        if (error != 0 && S_ISREG(before.st_mode)) {
            int cut = ftruncate(file, before.st_size); /* no half lines */
            (void)cut;
        }
    }
    if (close(file) != 0 && error == 0 && errno != EINTR)
        error = errno;
    return error == 0 ? BP_OK : fail_system(BP_RESOURCE, "append to", path, error);
}

bp_status bp_file_truncate(const char *path, size_t bytes) {
    struct stat info;
    if (stat(path, &info) != 0)
        return fail_system(BP_RESOURCE, "cut", path, errno);
    if ((uintmax_t)info.st_size <= bytes)
        return BP_OK;
    int result;
    do
        result = truncate(path, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    return result == 0 ? BP_OK : fail_system(BP_RESOURCE, "cut", path, errno);
}

bp_status bp_dir_create(const char *path) {
    char *parent;
    BP_TRY(bp_copy_string(&parent, path));
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = 0;
    int error = 0;
    for (size_t i = 1; i < length && error == 0; i++) {
        if (parent[i] != '/')
            continue;
        parent[i] = 0;
        int failure = mkdir(parent, 0777) != 0 ? errno : 0;
        if (failure != 0 && !bp_path_is_dir(parent))
            error = failure == EEXIST ? ENOTDIR : failure;
        parent[i] = '/';
    }
    if (error == 0 && mkdir(parent, 0777) != 0)
        error = errno;
    bp_free(parent);
    return error == 0 ? BP_OK : fail_system(BP_RESOURCE, "create the folder", path, error);
}

int bp_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

int bp_path_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bp_status bp_path_join(char *out, size_t size, const char *folder, const char *name) {
    size_t length = strlen(folder);
    const char *slash = length == 0 || folder[length - 1] == '/' ? "" : "/";
    int written = snprintf(out, size, "%s%s%s", folder, slash, name);
    if (written < 0 || (size_t)written >= size)
        return bp_fail(BP_USAGE, "path too long: %.80s.../%s; choose a shorter one", folder, name);
    return BP_OK;
}
