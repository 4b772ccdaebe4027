#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <stdint.h>

#include "template.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPLY = 3 };

/* A SpawnReply of aiod/shim/protocol.py; strerror(3) has no character that JSON escapes. */
static void refuse(int reply, const char *step, int error) {
    char text[512];
    int length = snprintf(text, sizeof text, "{\"step\":\"%s\",\"errno\":%d,\"message\":\"%s\"}",
                          step, error, strerror(error));
    ssize_t ignored = send(reply, text, (size_t)length, MSG_NOSIGNAL);
    (void)ignored;
}

/* The next request with the socket for its answer; 0 at the end. */
static int receive(int control, struct aiod_born *born) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary;
    struct iovec part = {born->directory, sizeof born->directory - 1};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes,
                          .msg_controllen = sizeof ancillary.bytes};
    ssize_t length;
    do
        length = recvmsg(control, &head, MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length <= 0)
        return length < 0 ? -errno : 0;
    struct cmsghdr *found = CMSG_FIRSTHDR(&head);
    if (found == NULL || found->cmsg_type != SCM_RIGHTS)
        return -EPROTO;
    memcpy(&born->reply, CMSG_DATA(found), sizeof born->reply);
    born->directory[length] = 0;
    born->pending = 1;
    return 1;
}

/* Keep nothing of the daemon's: session, working directory, descriptors. */
static int leave_daemon(struct aiod_born *born) {
    char path[sizeof born->directory + 16];
    snprintf(path, sizeof path, "%s/shim.log", born->directory);
    setsid();
    umask(022);
    if (chdir("/") < 0)
        return -errno;
    int reply = fcntl(born->reply, F_DUPFD, REPLY + 1);
    int errors = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (reply < 0 || errors < 0 || null < 0)
        return -errno;
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(errors, 2) < 0 ||
        dup3(reply, REPLY, O_CLOEXEC) < 0)
        return -errno;
    born->reply = REPLY;
    return close_range(REPLY + 1, UINT32_MAX, 0) < 0 ? -errno : 0;
}

int aiod_template_end_with_parent(void) {
    return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
}

static void become_maker(struct aiod_born *born, int end, pid_t shim) {
    /* Whatever it has made goes with it: the shim's child waits for its word. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != shim)
        _exit(1);
    close(born->reply);
    born->reply = -1;
    born->maker = end;
}

/* In the shim: its core, and its maker. Returns who the caller is. */
static int begin_shim(struct aiod_born *born) {
    char title[sizeof born->directory + 16];
    int ends[2], error;
    snprintf(title, sizeof title, "aiod-shim %s", born->directory);
    if ((error = aiod_shim_adopt("aiod-shim", title)) < 0)
        return error;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    pid_t shim = getpid(), child = fork();
    if (child == 0) {
        close(ends[0]);
        become_maker(born, ends[1], shim);
        return AIOD_TEMPLATE_MAKER;
    }
    if (child < 0)
        return -errno;
    close(ends[1]);
    born->core = aiod_core_new(-1);
    if (born->core == NULL)
        return -errno;
    error = aiod_core_expect(born->core, child, ends[0], born->reply, born->directory);
    if (error < 0)
        return error;
    error = aiod_core_run(born->core, 1, &born->event);
    return error < 0 ? error : AIOD_TEMPLATE_SHIM;
}

static int become_shim(struct aiod_born *born) {
    born->pending = 0;
    int role = leave_daemon(born);
    if (role == 0)
        role = begin_shim(born);
    if (role > 0)
        return role;
    refuse(born->reply, "fork shim", -role);
    _exit(1);
}

/* Fork a grandchild, which init takes over; the process between shares this one's memory, and
 * so costs no copy of its page tables. Returns 0 in the grandchild. */
static pid_t fork_away(void) {
    volatile int error = 0;
    int status;
    pid_t between = vfork();
    if (between == 0) {
        pid_t shim = fork();
        if (shim == 0)
            return 0;
        error = shim < 0 ? -errno : 0;
        _exit(0);
    }
    if (between < 0)
        return -errno;
    while (waitpid(between, &status, 0) < 0 && errno == EINTR)
        ;
    return error < 0 ? error : between;
}

int aiod_template_serve(int control, int placed, struct aiod_born *born) {
    for (;;) {
        int result = born->pending ? 1 : receive(control, born);
        if (result <= 0)
            return result;
        if (!placed)
            return AIOD_TEMPLATE_PLACE;
        pid_t child = fork_away();
        if (child == 0)
            return become_shim(born);
        if (child < 0)
            refuse(born->reply, "fork shim", -child);
        close(born->reply);
        born->pending = 0;
    }
}

void aiod_forked(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyOS_AfterFork_Child();
    PyGILState_Release(state);
}
