#define _GNU_SOURCE
#include "corestate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>

int64_t core_now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void core_close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void core_raise(int fd) {
    uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof one); /* EAGAIN: it is already raised */
    (void)ignored;
}

void core_clear(int fd) {
    uint64_t count;
    ssize_t ignored = read(fd, &count, sizeof count);
    (void)ignored;
}

int core_watch(aiod_core *core, int fd, enum source source, int process, int which) {
    struct epoll_event event = {.events = EPOLLIN};
    event.data.u64 = ((uint64_t)source << 48) | ((uint64_t)which << 32) | (uint32_t)process;
    return epoll_ctl(core->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void core_unwatch(aiod_core *core, int fd) {
    epoll_ctl(core->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* A free place in a table of pointers; -ENOMEM if it cannot grow. */
int core_place(void ***table, int *count) {
    for (int i = 0; i < *count; i++)
        if ((*table)[i] == NULL)
            return i;
    void **grown = realloc(*table, sizeof(void *) * (size_t)(*count + 4));
    if (grown == NULL)
        return -ENOMEM;
    memset(grown + *count, 0, sizeof(void *) * 4);
    *table = grown;
    *count += 4;
    return *count - 4;
}
