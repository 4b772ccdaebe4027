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

enum source { SOURCE_SIGNAL, SOURCE_WAKE, SOURCE_LISTENER, SOURCE_OUTPUT, SOURCE_MAKER };

struct spool {
    int process, streams, file, event, state;
    int64_t limit, written, consumed, punched;
};

struct process {
    int pid;
    int fds[2];
    bool terminal, reaped, reported, announced, dropped;
    int status;
    int64_t time_ns, drain_until, retry_at;
    struct shimlog log;
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
    struct spool **spools;
    int spool_count;
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

/* spool.c */
void core_broadcast(aiod_core *core, int number, int stream, size_t length);
void core_end_spools(aiod_core *core, int number);
void core_spool_free(struct spool *spool);

/* takeover.c */
void core_set_listening(aiod_core *core, bool listening);
void core_hear_maker(aiod_core *core);

#endif
