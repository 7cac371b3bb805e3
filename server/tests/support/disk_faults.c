/* Makes the disk of one file fail, in a program that is loaded with LD_PRELOAD: SQLite cannot be told to do that to its
 * own calls of the system, and a full or failing disk cannot be made everywhere that tests run.
 *
 * While FILE.cannot-sync exists, fsync and fdatasync of $DISK_FAULTS_FILE and its -wal fail with EIO; while FILE.is-full
 * exists, writes to them fail with ENOSPC. While FILE.is-read-only exists, they cannot be opened for writing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int is_watched(const char *path) {
    const char *watched = getenv("DISK_FAULTS_FILE");
    if (!watched)
        return 0;
    size_t length = strlen(watched);
    return strncmp(path, watched, length) == 0 && (path[length] == 0 || strcmp(path + length, "-wal") == 0);
}

static int has(const char *fault) {
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", getenv("DISK_FAULTS_FILE"), fault);
    return access(path, F_OK) == 0;
}

/* Whether the open file is watched and has this fault; then errno is set. */
static int fails(int file, const char *fault, int error) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (!is_watched(path) || !has(fault))
        return 0;
    errno = error;
    return 1;
}

static int refuses(const char *path, int flags) {
    if ((flags & O_ACCMODE) == O_RDONLY || !is_watched(path) || !has("is-read-only"))
        return 0;
    errno = EACCES;
    return 1;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(int, name, const char *, int, ...);                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        return refuses(path, flags) ? -1 : real(path, flags, mode);                                                    \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(name)                                                                                                   \
    ssize_t name(int file, const void *bytes, size_t length, off_t offset) {                                           \
        REAL(ssize_t, name, int, const void *, size_t, off_t);                                                         \
        return fails(file, "is-full", ENOSPC) ? -1 : real(file, bytes, length, offset);                                \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define SYNC(name)                                                                                                     \
    int name(int file) {                                                                                               \
        REAL(int, name, int);                                                                                          \
        return fails(file, "cannot-sync", EIO) ? -1 : real(file);                                                      \
    }
SYNC(fsync)
SYNC(fdatasync)
