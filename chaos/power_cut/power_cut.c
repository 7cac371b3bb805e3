/* A layer below SQLite that remembers what the next power cut would take: loaded into the real server with LD_PRELOAD by
 * `cargo xtask chaos`, because kill -9 alone loses nothing of the system's page cache.
 *
 * For the file $POWER_CUT_FILE and for its -wal, the content that a write or a truncation replaces is appended to a
 * journal, FILE.unsynced, before it is replaced. A successful fsync or fdatasync empties the journal of its file. After
 * the server was killed, the driver puts back what a journal has, newest first: then the file is what it was when it
 * was synced last (chaos/src/bin/driver/power.rs).
 *
 * An entry of a journal: 4 native 64-bit numbers (mark, offset, size of the file before, length), and the replaced bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK 0x756e73796e636564u
#define FILES 1024

/* The journal of each open file, or 0. Standard input is never one. */
static int journals[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t real_pwrite(int file, const void *bytes, size_t length, off_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    return real(file, bytes, length, offset);
}

static ssize_t real_write(int file, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    return real(file, bytes, length);
}

static int real_ftruncate(int file, off_t length) {
    REAL(int, ftruncate64, int, off_t);
    return real(file, length);
}

static int real_open(const char *path, int flags, mode_t mode) {
    REAL(int, open64, const char *, int, ...);
    return real(path, flags, mode);
}

static void fail(const char *what) {
    fprintf(stderr, "power_cut: %s: %s\n", what, strerror(errno));
    abort();
}

static int is_watched(const char *path) {
    const char *watched = getenv("POWER_CUT_FILE");
    if (!watched)
        return 0;
    size_t length = strlen(watched);
    return strncmp(path, watched, length) == 0 && (path[length] == 0 || strcmp(path + length, "-wal") == 0);
}

/* SQLite opens a file several times: each descriptor has its own descriptor of the one journal. */
static int opened(const char *path, int file) {
    if (file <= 0 || !is_watched(path))
        return file;
    if (file >= FILES)
        fail("too many open files");
    char journal[4096];
    snprintf(journal, sizeof journal, "%s.unsynced", path);
    int opened = real_open(journal, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opened < 0)
        fail(journal);
    pthread_mutex_lock(&lock);
    journals[file] = opened;
    pthread_mutex_unlock(&lock);
    return file;
}

static int journal_of(int file) { return file > 0 && file < FILES ? journals[file] : 0; }

/* Writes what is about to be replaced to the journal. The caller has the lock. */
static void remember(int file, int journal, off_t offset, size_t length) {
    struct stat before;
    if (fstat(file, &before))
        fail("fstat");
    size_t replaced = 0;
    if (offset < before.st_size)
        replaced = before.st_size - offset < (off_t)length ? (size_t)(before.st_size - offset) : length;
    uint64_t head[4] = {MARK, (uint64_t)offset, (uint64_t)before.st_size, replaced};
    char *entry = malloc(sizeof head + replaced);
    if (!entry)
        fail("malloc");
    memcpy(entry, head, sizeof head);
    size_t done = 0;
    while (done < replaced) {
        ssize_t got = pread(file, entry + sizeof head + done, replaced - done, offset + done);
        if (got <= 0)
            fail("pread");
        done += got;
    }
    if (real_write(journal, entry, sizeof head + replaced) != (ssize_t)(sizeof head + replaced))
        fail("the journal");
    free(entry);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, real_open(path, flags, mode));
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, real_open(path, flags, mode));
}

int close(int file) {
    REAL(int, close, int);
    pthread_mutex_lock(&lock);
    int journal = journal_of(file);
    if (journal)
        journals[file] = 0;
    pthread_mutex_unlock(&lock);
    if (journal)
        real(journal);
    return real(file);
}

static ssize_t watched_pwrite(int file, const void *bytes, size_t length, off_t offset) {
    int journal = journal_of(file);
    if (!journal)
        return real_pwrite(file, bytes, length, offset);
    pthread_mutex_lock(&lock);
    remember(file, journal, offset, length);
    ssize_t written = real_pwrite(file, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return watched_pwrite(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset) {
    return watched_pwrite(file, bytes, length, offset);
}

ssize_t write(int file, const void *bytes, size_t length) {
    int journal = journal_of(file);
    if (!journal)
        return real_write(file, bytes, length);
    pthread_mutex_lock(&lock);
    remember(file, journal, lseek(file, 0, SEEK_CUR), length);
    ssize_t written = real_write(file, bytes, length);
    pthread_mutex_unlock(&lock);
    return written;
}

static int watched_ftruncate(int file, off_t length) {
    int journal = journal_of(file);
    if (!journal)
        return real_ftruncate(file, length);
    pthread_mutex_lock(&lock);
    struct stat before;
    if (fstat(file, &before))
        fail("fstat");
    remember(file, journal, length, before.st_size > length ? (size_t)(before.st_size - length) : 0);
    int truncated = real_ftruncate(file, length);
    pthread_mutex_unlock(&lock);
    return truncated;
}

int ftruncate(int file, off_t length) { return watched_ftruncate(file, length); }

int ftruncate64(int file, off_t length) { return watched_ftruncate(file, length); }

/* Nothing is written to the file between the sync and the end of its journal. */
static int synced(int file, int (*real)(int)) {
    int journal = journal_of(file);
    if (!journal)
        return real(file);
    pthread_mutex_lock(&lock);
    int result = real(file);
    if (result == 0 && real_ftruncate(journal, 0))
        fail("the journal");
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int file) {
    REAL(int, fsync, int);
    return synced(file, real);
}

int fdatasync(int file) {
    REAL(int, fdatasync, int);
    return synced(file, real);
}
