/* What a test may do to a role: set its clocks off, make its disk slow, make it full. The file named by SHIM holds seven
   numbers: seconds by which the clock is off, milliseconds that an fsync takes, 1 when the disk is full, 2 when only
   decisions find no room, 3 the database, 4 the log's write-ahead file, seconds by which the machine seems to have run longer, and how many syncs of the log fail with EIO
   from the moment at which the next number, a serial, changes, and 1 if those of the database fail instead of the log's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static long values[7];

static void look(void) {
    const char *path = getenv("SHIM");
    char text[64];
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return;
    text[length] = 0;
    sscanf(text, "%ld %ld %ld %ld %ld %ld %ld", &values[0], &values[1], &values[2], &values[3], &values[4], &values[5], &values[6]);
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, out);
    if (clock == CLOCK_REALTIME) {
        look();
        out->tv_sec += values[0];
    }
    if (clock == CLOCK_MONOTONIC) {
        look();
        out->tv_sec += values[3];
    }
    return result;
}

static void wait_for_disk(void) {
    look();
    usleep(values[1] * 1000);
}

static int is_below(int fd, const char *folder) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return strstr(path, folder) != NULL;
}

/* As the kernel does after an error: what was written stays in the page cache, and the next sync says that all is well. */
static int sync_fails(int fd) {
    static long serial, left;
    if (!is_below(fd, values[6] ? "/state.db-wal" : "/ledger/")) return 0;
    if (values[5] != serial) serial = values[5], left = values[4];
    return left > 0 && left-- > 0;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    wait_for_disk();
    if (sync_fails(fd)) return errno = EIO, -1;
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    wait_for_disk();
    if (sync_fails(fd)) return errno = EIO, -1;
    return real(fd);
}

static int is_full(int fd) {
    struct stat found;
    if (fstat(fd, &found) || !S_ISREG(found.st_mode)) return 0;
    look();
    switch (values[2]) {
    case 2: return is_below(fd, "/decisions/");
    case 3: return is_below(fd, "/state.db");
    case 4: return is_below(fd, "/ledger/wal");
    default: return values[2] == 1;
    }
}

ssize_t write(int fd, const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (is_full(fd)) return errno = ENOSPC, -1;
    return real(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    if (is_full(fd)) return errno = ENOSPC, -1;
    return real(fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}
