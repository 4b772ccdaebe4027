#define _GNU_SOURCE
#include "corestate.h"
#include "net.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

void core_set_listening(aiod_core *core, bool listening) {
    if (core->listener < 0 || core->listening == listening)
        return;
    if (listening)
        core_watch(core, core->listener, SOURCE_LISTENER, 0, 0);
    else
        core_unwatch(core, core->listener);
    core->listening = listening;
    core->connected = false;
}

const struct aiod_init *aiod_core_init(aiod_core *core) {
    return &core->init;
}

int aiod_core_expect(aiod_core *core, int pid, int maker, int reply, const char *directory) {
    core->directory = directory;
    core->maker = maker;
    core->maker_pid = pid;
    core->reply = reply;
    core->holds++;
    return core_watch(core, maker, SOURCE_MAKER, 0, 0);
}

/* The descriptors that are there come in the order of the flags. */
static void take_descriptors(const struct aiod_handover *made, const int *fds, int count,
                             int *out[AIOD_HANDED]) {
    int next = 0;
    for (int i = 0; i < AIOD_HANDED; i++)
        if ((made->present & (1 << i)) && next < count)
            *out[i] = fds[next++];
}

/* The rest is undone by the maker, which ends the process; the network's part dies with this. */
static int adopt_init(aiod_core *core, const struct aiod_handover *made, const int *fds,
                      int count, struct aiod_verdict *verdict) {
    struct aiod_init *init = &core->init;
    int output = -1, error = -1;
    int *out[AIOD_HANDED] = {&init->listener, &init->pidfd, &output,        &error,
                             &init->input,    &init->console, &init->channel};
    take_descriptors(made, fds, count, out);
    init->pid = made->pid;
    init->start_time = made->start_time;
    init->started_ns = made->started_ns;
    init->terminal = made->terminal;
    init->request = malloc((size_t)made->request_size);
    if (init->request == NULL)
        return -ENOMEM;
    memcpy(init->request, made + 1, (size_t)made->request_size);
    init->request_size = made->request_size;
    core->listener = init->listener;
    core_set_listening(core, true);
    pthread_mutex_unlock(&core->lock);
    init->number = aiod_core_add(core, made->pid, output, error, made->terminal, made->driver,
                                 made->path, made->max_size, made->max_file, 0);
    pthread_mutex_lock(&core->lock);
    if (init->number >= 0)
        return aiod_net_start(core->directory, made->pid, verdict->failed,
                              sizeof verdict->failed);
    snprintf(verdict->failed, sizeof verdict->failed, "open log \"%.200s\"", made->path);
    return init->number;
}

static void maker_gone(aiod_core *core) {
    core_unwatch(core, core->maker);
    core_close_fd(&core->maker);
    core_release_hold(core);
}

/* The answer reaches the daemon from here, so that there is one exactly if this process knows. */
static void maker_done(aiod_core *core, const char *answer, size_t length, bool failed) {
    if (failed && !core->maker_reaped) {
        kill(core->maker_pid, SIGKILL); /* it has undone all of it: nothing is to be left of it */
        waitpid(core->maker_pid, NULL, 0);
    }
    ssize_t ignored = send(core->reply, answer, length, MSG_NOSIGNAL);
    (void)ignored;
    if (failed)
        _exit(0);
    core_close_fd(&core->reply);
    maker_gone(core);
}

void core_hear_maker(aiod_core *core) {
    const struct aiod_handover *made = (const struct aiod_handover *)core->chunk;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * AIOD_HANDED)];
    } control;
    struct iovec part = {core->chunk, CHUNK};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes};
    ssize_t length = recvmsg(core->maker, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR) && !core->maker_reaped)
        return;
    struct cmsghdr *found = length > 0 ? CMSG_FIRSTHDR(&head) : NULL;
    core->warm = true;
    if (length <= (ssize_t)sizeof(int)) {
        maker_gone(core);
        core->unmade = true;
    } else if (made->kind == AIOD_MAKER_MADE) {
        int count = found ? (int)((found->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
        const int *fds = found ? (const int *)CMSG_DATA(found) : NULL;
        bool whole = (size_t)length == sizeof *made + (size_t)made->request_size;
        struct aiod_verdict verdict = {-EMSGSIZE, "take the container over"};
        if (whole)
            verdict.result = adopt_init(core, made, fds, count, &verdict);
        ssize_t ignored = send(core->maker, &verdict, sizeof verdict, MSG_NOSIGNAL);
        (void)ignored;
    } else {
        maker_done(core, core->chunk + sizeof(int), (size_t)length - sizeof(int),
                   made->kind == AIOD_MAKER_FAILED);
    }
}
