#define _GNU_SOURCE
#include "corestate.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Output held open by somebody else is waited for this long after an exit. */
static const int64_t DRAIN_NS = 2000000000;
/* A terminal whose last slave was closed reads EIO until it is opened again. */
static const int64_t HANGUP_RETRY_NS = 100000000;
/* Memory that output took is given back after this long without any. */
static const int IDLE_MS = 1000;

/* ---- becoming a shim ---- */

/* proc(5): fields 48 and 49 of /proc/self/stat are where the command line lies. */
static void replace_command_line(const char *title) {
    char text[2048], *field;
    unsigned long start = 0, end = 0;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    core_close_fd(&fd);
    if (length <= 0)
        return;
    text[length] = 0;
    field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 48; number++)
        field = strchr(field + 1, ' ');
    if (field == NULL || sscanf(field, "%lu %lu", &start, &end) != 2 || end <= start)
        return;
    memset((char *)start, 0, end - start);
    snprintf((char *)start, end - start, "%s", title);
}

int aiod_shim_adopt(const char *name, const char *title) {
    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGCHLD);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGINT);
    sigaddset(&taken, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &taken, NULL) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, name);
    replace_command_line(title);
    return 0;
}

/* ---- life of a core ---- */

static int core_open(aiod_core *core) {
    sigset_t taken;
    int result;
    sigemptyset(&taken);
    sigaddset(&taken, SIGCHLD);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGHUP);
    core->epoll = epoll_create1(EPOLL_CLOEXEC);
    core->signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    core->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    core->chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (core->epoll < 0 || core->signals < 0 || core->wake < 0 || core->chunk == MAP_FAILED)
        return -errno;
    if ((result = core_watch(core, core->signals, SOURCE_SIGNAL, 0, 0)) < 0)
        return result;
    return core_watch(core, core->wake, SOURCE_WAKE, 0, 0);
}

aiod_core *aiod_core_new(int listener) {
    aiod_core *core = calloc(1, sizeof *core);
    if (core == NULL)
        return NULL;
    core->epoll = core->signals = core->wake = core->maker = core->reply = -1;
    core->init = (struct aiod_init){.number = -1, .pidfd = -1, .input = -1, .console = -1,
                                    .channel = -1, .listener = listener};
    core->listener = listener;
    core->chunk = MAP_FAILED;
    pthread_mutex_init(&core->lock, NULL);
    int result = core_open(core);
    if (result < 0) {
        aiod_core_free(core);
        errno = -result;
        return NULL;
    }
    return core;
}

static void process_free(struct process *process) {
    core_close_fd(&process->fds[0]);
    core_close_fd(&process->fds[1]);
    shimlog_close(&process->log);
    free(process);
}

void aiod_core_free(aiod_core *core) {
    core_free_readers(core);
    for (int i = 0; i < core->process_count; i++)
        if (core->processes[i])
            process_free(core->processes[i]);
    core_close_fd(&core->epoll);
    core_close_fd(&core->signals);
    core_close_fd(&core->wake);
    free(core->processes);
    if (core->chunk != MAP_FAILED)
        munmap(core->chunk, CHUNK);
    core_close_fd(&core->maker);
    core_close_fd(&core->reply);
    free(core->init.request);
    pthread_mutex_destroy(&core->lock);
    free(core);
}

/* ---- output ---- */

static void end_output(aiod_core *core, int number, int which) {
    struct process *process = core->processes[number];
    core_unwatch(core, process->fds[which]);
    core_close_fd(&process->fds[which]);
    if (!process->reported)
        shimlog_end(&process->log, which + 1);
}

static void hang_up(aiod_core *core, int number) {
    struct process *process = core->processes[number];
    if (process->reaped) {
        end_output(core, number, 0);
        return;
    }
    core_unwatch(core, process->fds[0]);
    process->retry_at = core_now(CLOCK_MONOTONIC) + HANGUP_RETRY_NS;
}

static void read_output(aiod_core *core, int number, int which) {
    struct process *process = core->processes[number];
    if (process == NULL || process->fds[which] < 0)
        return;
    ssize_t length = read(process->fds[which], core->chunk, CHUNK);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length < 0 && process->terminal) {
        hang_up(core, number);
        return;
    }
    if (length <= 0) {
        end_output(core, number, which);
        return;
    }
    if (process->reported)
        return; /* kept open by others after the exit: read on, for nobody */
    core->warm = true;
    shimlog_feed(&process->log, which + 1, core->chunk, (size_t)length);
    core_broadcast(core, number, which + 1, (size_t)length);
}

/* ---- children ---- */

static struct process *by_pid(aiod_core *core, int pid) {
    for (int i = 0; i < core->process_count; i++)
        if (core->processes[i] && core->processes[i]->pid == pid && !core->processes[i]->reaped)
            return core->processes[i];
    return NULL;
}

static void set_reaped(struct process *process, int status, int64_t time_ns) {
    process->reaped = true;
    process->status = status;
    process->time_ns = time_ns;
    process->drain_until = core_now(CLOCK_MONOTONIC) + DRAIN_NS;
    process->retry_at = process->retry_at ? 1 : 0;
}

static void reap(aiod_core *core) {
    int status, pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct process *process = by_pid(core, pid);
        int64_t time_ns = core_now(CLOCK_REALTIME);
        if (pid == core->maker_pid)
            core->maker_reaped = true;
        if (process && pid == core->init.pid)
            aiod_net_end();
        if (process)
            set_reaped(process, status, time_ns);
        else if (core->holds > 0)
            core->stash[core->stash_count++ % STASH] = (struct stashed){pid, status, time_ns};
    }
}

void aiod_core_hold(aiod_core *core) {
    pthread_mutex_lock(&core->lock);
    core->holds++;
    pthread_mutex_unlock(&core->lock);
}

void core_release_hold(aiod_core *core) {
    if (--core->holds == 0)
        core->stash_count = 0;
}

void aiod_core_unhold(aiod_core *core) {
    pthread_mutex_lock(&core->lock);
    core_release_hold(core);
    pthread_mutex_unlock(&core->lock);
}

static void claim_stashed(aiod_core *core, struct process *process) {
    int count = core->stash_count < STASH ? core->stash_count : STASH;
    for (int i = 0; i < count; i++)
        if (core->stash[i].pid == process->pid)
            set_reaped(process, core->stash[i].status, core->stash[i].time_ns);
}

/* A child that is neither ours to wait for nor stashed must not be waited for forever. */
static void check_waitable(struct process *process) {
    siginfo_t info;
    if (!process->reaped &&
        waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        set_reaped(process, -1, core_now(CLOCK_REALTIME));
}

static int watch_outputs(aiod_core *core, struct process *process, int number) {
    for (int which = 0; which < 2; which++) {
        int fd = process->fds[which];
        if (fd < 0)
            continue;
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
            return -errno;
        int result = core_watch(core, fd, SOURCE_OUTPUT, number, which);
        if (result < 0)
            return result;
    }
    return 0;
}

static int insert(aiod_core *core, struct process *process) {
    int number = core_place((void ***)&core->processes, &core->process_count);
    if (number < 0)
        return number;
    int result = watch_outputs(core, process, number);
    if (result < 0)
        return result;
    core->processes[number] = process;
    claim_stashed(core, process);
    check_waitable(process);
    return number;
}

int aiod_core_add(aiod_core *core, int pid, int output_fd, int error_fd, int terminal, int driver,
                  const char *path, int64_t max_size, int max_file, int held) {
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL)
        return -ENOMEM;
    int number = shimlog_open(&process->log, (enum shimlog_driver)driver, path, max_size, max_file);
    process->pid = pid;
    process->terminal = terminal != 0;
    process->fds[0] = output_fd;
    process->fds[1] = error_fd;
    pthread_mutex_lock(&core->lock);
    if (number >= 0)
        number = insert(core, process);
    if (number >= 0 && held)
        core_release_hold(core);
    pthread_mutex_unlock(&core->lock);
    core_raise(core->wake);
    if (number < 0) {
        process->fds[0] = process->fds[1] = -1;
        process_free(process);
    }
    return number;
}

void aiod_core_announce(aiod_core *core, int process) {
    pthread_mutex_lock(&core->lock);
    core->processes[process]->announced = true;
    core_end_readers(core, process);
    pthread_mutex_unlock(&core->lock);
}

static void forget(aiod_core *core, int number) {
    struct process *process = core->processes[number];
    if (!process->dropped || process->fds[0] >= 0 || process->fds[1] >= 0)
        return;
    core->processes[number] = NULL;
    process_free(process);
}

void aiod_core_drop(aiod_core *core, int process) {
    pthread_mutex_lock(&core->lock);
    core_end_readers(core, process);
    core_orphan_readers(core, process);
    core->processes[process]->dropped = true;
    forget(core, process);
    pthread_mutex_unlock(&core->lock);
}

int64_t aiod_core_lost(aiod_core *core, int process) {
    pthread_mutex_lock(&core->lock);
    struct process *found = core->processes[process]; /* an exec may be gone by now */
    int64_t lost = found == NULL ? 0 : found->log.lost;
    pthread_mutex_unlock(&core->lock);
    return lost;
}

/* ---- the loop ---- */

/* While the init is not reaped, its pid is no other's. */
static void reload_net(aiod_core *core) {
    const struct aiod_init *init = &core->init;
    if (core->directory && init->number >= 0 && core->processes[init->number] &&
        !core->processes[init->number]->reaped)
        aiod_net_reload(core->directory, init->pid);
}

static void handle_signals(aiod_core *core) {
    struct signalfd_siginfo info;
    bool reload = false;
    while (read(core->signals, &info, sizeof info) == sizeof info) {
        core->terminated = core->terminated || info.ssi_signo == SIGTERM;
        reload = reload || info.ssi_signo == SIGHUP;
    }
    reap(core);
    if (reload)
        reload_net(core);
}

static void dispatch(aiod_core *core, uint64_t data, uint32_t events) {
    enum source source = (enum source)(data >> 48);
    switch (source) {
    case SOURCE_SIGNAL: handle_signals(core); break;
    case SOURCE_WAKE: core_clear(core->wake); break;
    case SOURCE_LISTENER: core->connected = true; break;
    case SOURCE_MAKER: core_hear_maker(core); break;
    case SOURCE_OUTPUT: read_output(core, (int)(uint32_t)data, (data >> 32) & 1); break;
    case SOURCE_READER: core_serve_reader(core, (int)(uint32_t)data, events); break;
    }
}

static bool exited(aiod_core *core, int number, struct aiod_event *event, int64_t time) {
    struct process *process = core->processes[number];
    if (!process->reaped || process->reported)
        return false;
    if ((process->fds[0] >= 0 || process->fds[1] >= 0) && time < process->drain_until)
        return false;
    shimlog_end(&process->log, 1);
    shimlog_end(&process->log, 2);
    process->reported = true;
    *event = (struct aiod_event){.kind = AIOD_EVENT_EXITED, .process = number,
                                 .status = process->status, .time_ns = process->time_ns};
    return true;
}

/* Take one thing that is for Python; output pending at a first connection stays for later. */
static bool next_event(aiod_core *core, struct aiod_event *event) {
    int64_t time = core_now(CLOCK_MONOTONIC);
    if (core->maker >= 0)
        return false; /* the shim does not know yet what it holds */
    for (int i = 0; i < core->process_count; i++)
        if (core->processes[i] && exited(core, i, event, time))
            return true;
    bool *const flags[] = {&core->unmade, &core->terminated, &core->connected, &core->woken};
    const int kinds[] = {AIOD_EVENT_UNMADE, AIOD_EVENT_TERM, AIOD_EVENT_CONNECTION,
                         AIOD_EVENT_WAKE};
    for (int i = 0; i < 4; i++)
        if (*flags[i]) {
            *flags[i] = false;
            *event = (struct aiod_event){.kind = kinds[i]};
            return true;
        }
    return false;
}

static void retry_hangups(aiod_core *core, int64_t time) {
    for (int i = 0; i < core->process_count; i++) {
        struct process *process = core->processes[i];
        if (process && process->retry_at && process->retry_at <= time) {
            process->retry_at = 0;
            core_watch(core, process->fds[0], SOURCE_OUTPUT, i, 0);
        }
    }
}

/* Give back what output took; the loop then touches its stack alone. */
static void cool(aiod_core *core) {
    for (int i = 0; i < core->process_count; i++)
        if (core->processes[i])
            shimlog_shrink(&core->processes[i]->log);
    madvise(core->chunk, CHUNK, MADV_DONTNEED);
    malloc_trim(0);
    core->warm = false;
}

/* Milliseconds until the next deadline, -1 for none. */
static int timeout(aiod_core *core, int64_t time) {
    int64_t next = INT64_MAX;
    for (int i = 0; i < core->process_count; i++) {
        struct process *process = core->processes[i];
        if (process && process->reaped && !process->reported && process->drain_until < next &&
            core->maker < 0)
            next = process->drain_until;
        if (process && process->retry_at && process->retry_at < next)
            next = process->retry_at;
    }
    if (next == INT64_MAX)
        return -1;
    return next <= time ? 0 : (int)((next - time) / 1000000 + 1);
}

static void collect(aiod_core *core) {
    for (int i = 0; i < core->process_count; i++)
        if (core->processes[i])
            forget(core, i);
}

/* One round: wait without the lock, handle with it. True when `event` is filled. */
static bool turn(aiod_core *core, struct aiod_event *event, int *error) {
    struct epoll_event ready[EVENTS];
    int64_t time = core_now(CLOCK_MONOTONIC);
    retry_hangups(core, time);
    if (next_event(core, event))
        return true;
    int wait = timeout(core, time);
    if (core->warm && (wait < 0 || wait > IDLE_MS))
        wait = IDLE_MS;
    pthread_mutex_unlock(&core->lock);
    int count = epoll_wait(core->epoll, ready, EVENTS, wait);
    int saved = errno;
    pthread_mutex_lock(&core->lock);
    if (count < 0 && saved != EINTR) {
        *error = -saved;
        return true;
    }
    for (int i = 0; i < count; i++)
        dispatch(core, ready[i].data.u64, ready[i].events);
    /* The init has a copy of its end, until it executes: there may be no end of file. */
    if (core->maker >= 0 && core->maker_reaped)
        core_hear_maker(core);
    if (count == 0 && core->warm && wait == IDLE_MS)
        cool(core);
    collect(core);
    return false;
}

int aiod_core_run(aiod_core *core, int listening, struct aiod_event *event) {
    int error = 0;
    *event = (struct aiod_event){0};
    pthread_mutex_lock(&core->lock);
    core_set_listening(core, listening != 0);
    while (!turn(core, event, &error))
        ;
    pthread_mutex_unlock(&core->lock);
    return error;
}

void aiod_core_wake(aiod_core *core) {
    pthread_mutex_lock(&core->lock);
    core->woken = true;
    pthread_mutex_unlock(&core->lock);
    core_raise(core->wake);
}
