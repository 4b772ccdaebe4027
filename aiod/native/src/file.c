#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int file, const char *data, size_t size) {
    while (size) {
        ssize_t written = write(file, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

/* The owner first: changing it clears set-id bits. */
static int set_facts(int file, uint32_t uid, uint32_t gid, uint32_t mode, int64_t seconds,
                     int64_t nanoseconds) {
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)nanoseconds};
    struct timespec times[2] = {time, time};
    if (fchown(file, uid, gid) != 0 || fchmod(file, mode) != 0)
        return -1;
    return futimens(file, times);
}

int64_t aiod_file_make(int directory, const char *name, const char *data, size_t size,
                       uint32_t uid, uint32_t gid, uint32_t mode, int64_t seconds,
                       int64_t nanoseconds) {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int file = openat(directory, name, flags, 0600);
    if (file < 0)
        return -errno;
    struct stat status;
    int failed = write_all(file, data, size) != 0 ||
                 set_facts(file, uid, gid, mode, seconds, nanoseconds) != 0 ||
                 fstat(file, &status) != 0;
    int error = errno;
    close(file); /* what it could report is what syncfs reports */
    return failed ? -error : (int64_t)status.st_ino;
}
