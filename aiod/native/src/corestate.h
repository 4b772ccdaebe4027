/* What the parts of the core share: its state, and how descriptors are watched. */
#ifndef AIOD_CORESTATE_H
#define AIOD_CORESTATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "core.h"
#include "shimlog.h"

enum { CHUNK = 65536, EVENTS = 16, STASH = 256 };

enum source { SOURCE_SIGNAL, SOURCE_WAKE, SOURCE_LISTENER, SOURCE_OUTPUT, SOURCE_MAKER,
              SOURCE_READER };

struct process {
    int pid;
    int fds[2];
    bool terminal, reaped, reported, announced, dropped;
    int status;
    int64_t time_ns, drain_until, retry_at;
    struct shimlog log;
    struct backlog *backlog; /* NULL: nobody reads along */
};

struct stashed {
    int pid, status;
    int64_t time_ns;
};

struct aiod_core {
    pthread_mutex_t lock;
    int epoll, signals, wake, listener;
    int maker, reply, maker_pid;
    bool listening, woken, terminated, connected, unmade, warm, maker_reaped;
    struct aiod_init init;
    const char *directory; /* NULL: nothing is served to a network */
    struct process **processes; /* by number, NULL: free */
    int process_count;
    struct reader **readers; /* by number, NULL: free */
    int reader_count;
    int holds, stash_count;
    struct stashed stash[STASH];
    char *chunk;
};

/* corestate.c */
int64_t core_now(clockid_t clock);
void core_close_fd(int *fd);
void core_raise(int fd);
void core_clear(int fd);
int core_watch(aiod_core *core, int fd, enum source source, int process, int which);
void core_unwatch(aiod_core *core, int fd);
/* A free place in a table of pointers; -ENOMEM if it cannot grow. */
int core_place(void ***table, int *count);

/* core.c */
void core_release_hold(aiod_core *core);

/* readers.c */
void core_broadcast(aiod_core *core, int number, int stream, size_t length);
void core_serve_reader(aiod_core *core, int number, uint32_t events);
/* A process says no more: who has been sent all of it sees the end. */
void core_end_readers(aiod_core *core, int number);
/* A process is forgotten; those who lag behind are still sent the rest. */
void core_orphan_readers(aiod_core *core, int number);
void core_free_readers(aiod_core *core);

/* takeover.c */
void core_set_listening(aiod_core *core, bool listening);
void core_hear_maker(aiod_core *core);

#endif
