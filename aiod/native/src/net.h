/* The shim's network thread: an epoll loop beside the core's, for what a container's network
 * needs all its life (names, published ports), whatever happens to the daemon.
 *
 * Owns the thread, its start, reload and end, and which network namespace a socket is made in.
 * What is served is the parts', each with a file of its own in the run directory, which the
 * daemon replaces whole. Nothing here or in a part may call malloc(3): an arena of its own would
 * cost each shim memory, and the core's thread forks. Memory is static or mapped, touched at need.
 */
#ifndef AIOD_NET_H
#define AIOD_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "net.cdef"

/* What waits for a descriptor; embedded in whatever owns that. */
struct net_source {
    void (*ready)(struct net_source *source, uint32_t events);
};

/* One thing that the thread serves. Everything is called in the thread, in the host's network. */
struct net_part {
    /* The file whose presence asks for it. */
    const char *file;
    /* Take up what the file says, from nothing or from what was loaded before; keep what was if
     * it fails. 0 or -errno, after net_fail. */
    int (*load)(const char *path);
    /* Do what is due at `now` (monotonic, ns); returns when to be called again. */
    int64_t (*due)(int64_t now);
    void (*close)(void);
};

/* The parts, each defined in a file of its own. */
extern const struct net_part net_proxy, net_dns;

/* Never due. */
#define NET_NEVER INT64_MAX

int64_t net_now(void);
int net_watch(int fd, uint32_t events, struct net_source *source);
int net_rewatch(int fd, uint32_t events, struct net_source *source);
/* No call of `source` comes after this, although its descriptor may be ready already. */
void net_unwatch(int fd, struct net_source *source);
/* Unwatch and close; `fd` becomes -1. */
void net_close(int *fd, struct net_source *source);

/* Go to the container's network namespace and back; nothing but sockets may be made between. */
int net_enter(void);
void net_leave(void);
/* A non-blocking socket of the host's network, or of the container's. */
int net_socket(bool inside, int domain, int type, int protocol);

/* Say what failed, the first word holding; returns `error`. */
int net_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Read a whole file to `buffer` and end it with 0; its length, or -errno: EFBIG if it does not
 * fit. */
ssize_t net_read_file(const char *path, char *buffer, size_t size);

#endif
