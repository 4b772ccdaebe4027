#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void aiod_detail(struct aiod_report *report, const char *text) {
    size_t used = strlen(report->detail), room = sizeof report->detail - 1 - used;
    size_t length = strlen(text);
    memcpy(report->detail + used, text, length < room ? length : room);
}

int aiod_tell(int channel, const struct aiod_report *report, int fd) {
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *)report, sizeof *report};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(channel, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* End of file: whoever made this process is gone, and nobody would supervise the container. */
int aiod_await(int channel) {
    int got = aiod_hear(channel);
    if (got == 0)
        _exit(125);
    return got < 0 ? got : 0;
}

/* 1: a word; 0: the other end is closed. */
int aiod_hear(int channel) {
    char word;
    ssize_t got;
    do
        got = recv(channel, &word, 1, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got > 0;
}
