#define _GNU_SOURCE
#include "corestate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

/* Read spool is punched out in steps of at least this. */
static const int64_t PUNCH = 1 << 20;

static void spool_finish(struct spool *spool, int state) {
    if (spool->state != AIOD_SPOOL_OPEN)
        return;
    __atomic_store_n(&spool->state, state, __ATOMIC_RELEASE);
    core_raise(spool->event);
}

static void spool_write(struct spool *spool, int stream, const char *data, size_t length) {
    char header[5] = {(char)stream};
    uint32_t size = (uint32_t)length;
    memcpy(header + 1, &size, sizeof size);
    struct iovec parts[] = {{header, sizeof header}, {(void *)data, length}};
    int64_t consumed = __atomic_load_n(&spool->consumed, __ATOMIC_ACQUIRE);
    int64_t total = (int64_t)(sizeof header + length);
    if (spool->state != AIOD_SPOOL_OPEN)
        return;
    if (spool->written + total - consumed > spool->limit ||
        pwritev(spool->file, parts, 2, spool->written) != total) {
        spool_finish(spool, AIOD_SPOOL_CUT);
        return;
    }
    __atomic_store_n(&spool->written, spool->written + total, __ATOMIC_RELEASE);
    core_raise(spool->event);
}

void core_broadcast(aiod_core *core, int number, int stream, size_t length) {
    for (int i = 0; i < core->spool_count; i++) {
        struct spool *spool = core->spools[i];
        if (spool && spool->process == number && (spool->streams & stream))
            spool_write(spool, stream, core->chunk, length);
    }
}

void core_end_spools(aiod_core *core, int number) {
    for (int i = 0; i < core->spool_count; i++)
        if (core->spools[i] && core->spools[i]->process == number)
            spool_finish(core->spools[i], AIOD_SPOOL_END);
}

/* An unlinked file; where the file system has no O_TMPFILE, one that is unlinked at once. */
static int anonymous_file(const char *directory) {
    char path[4096];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    snprintf(path, sizeof path, "%s/.spool-XXXXXX", directory);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static struct spool *spool_new(int process, int streams, const char *directory, int64_t limit) {
    struct spool *spool = calloc(1, sizeof *spool);
    if (spool == NULL)
        return NULL;
    *spool = (struct spool){.process = process, .streams = streams, .limit = limit};
    spool->file = anonymous_file(directory);
    spool->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (spool->file >= 0 && spool->event >= 0)
        return spool;
    int saved = errno;
    core_spool_free(spool);
    errno = saved;
    return NULL;
}

int aiod_spool_open(aiod_core *core, int process, int streams, const char *directory,
                    int64_t limit) {
    struct spool *spool = spool_new(process, streams, directory, limit);
    if (spool == NULL)
        return -errno;
    pthread_mutex_lock(&core->lock);
    bool known = process >= 0 && process < core->process_count && core->processes[process];
    int number = known ? core_place((void ***)&core->spools, &core->spool_count) : -ESRCH;
    if (number >= 0) {
        core->spools[number] = spool;
        if (core->processes[process]->announced)
            spool_finish(spool, AIOD_SPOOL_END);
    }
    pthread_mutex_unlock(&core->lock);
    if (number < 0)
        core_spool_free(spool);
    return number;
}

static struct spool *spool_at(aiod_core *core, int number) {
    pthread_mutex_lock(&core->lock);
    struct spool *spool = core->spools[number];
    pthread_mutex_unlock(&core->lock);
    return spool;
}

int aiod_spool_file(aiod_core *core, int spool) {
    return spool_at(core, spool)->file;
}

int aiod_spool_event(aiod_core *core, int spool) {
    return spool_at(core, spool)->event;
}

int64_t aiod_spool_written(aiod_core *core, int spool) {
    return __atomic_load_n(&spool_at(core, spool)->written, __ATOMIC_ACQUIRE);
}

int aiod_spool_state(aiod_core *core, int spool) {
    return __atomic_load_n(&spool_at(core, spool)->state, __ATOMIC_ACQUIRE);
}

void aiod_spool_consumed(aiod_core *core, int number, int64_t offset) {
    struct spool *spool = spool_at(core, number);
    __atomic_store_n(&spool->consumed, offset, __ATOMIC_RELEASE);
    if (offset - spool->punched < PUNCH)
        return;
    fallocate(spool->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, spool->punched,
              offset - spool->punched);
    spool->punched = offset;
}

void aiod_spool_close(aiod_core *core, int number) {
    pthread_mutex_lock(&core->lock);
    struct spool *spool = core->spools[number];
    core->spools[number] = NULL;
    pthread_mutex_unlock(&core->lock);
    core_spool_free(spool);
}
