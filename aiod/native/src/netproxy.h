/* The proxies of published ports: what the parts of them share.
 *
 * Owns the host's sockets, which are the reservation of the ports, and what goes between them and
 * the container where no rule of the kernel's leads there: from the loopback, from containers,
 * and from one address family to the other. Memory is mapped, bounded, and given back when idle.
 */
#ifndef AIOD_NETPROXY_H
#define AIOD_NETPROXY_H

#include <netinet/in.h>
#include <stddef.h>

#include "net.h"

union net_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/* One published port: a line of the file. */
struct listener {
    struct net_source source;
    union net_address host, container;
    int fd;
    bool datagrams, paused;
};

static inline socklen_t address_size(const union net_address *address) {
    return address->any.sa_family == AF_INET ? sizeof address->four : sizeof address->six;
}

static inline bool same_address(const union net_address *one, const union net_address *other) {
    const unsigned char *a = (const void *)one, *b = (const void *)other;
    for (socklen_t i = 0; i < address_size(one); i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* netports.c: the file's lines as an array of its own mapping, none of them open; how many there
 * are in `count`. 0 or -errno. */
int ports_read(const char *path, struct listener **ports, size_t *count);
void ports_free(struct listener *ports, size_t count);
/* Open the host's socket of a port; nothing is watched yet. 0 or -errno, after net_fail. */
int port_open(struct listener *port);

/* netproxy.c */
/* Accept nothing for a while, as there is no room for more. */
void listeners_pause(void);
/* There is room again. */
void listeners_resume(void);

/* nettcp.c */
void tcp_accept(struct net_source *source, uint32_t events);
int64_t tcp_due(int64_t now);
void tcp_close(void);

/* netudp.c */
void udp_receive(struct net_source *source, uint32_t events);
/* A port moves in memory; without a `to` it is gone. */
void udp_move(const struct listener *from, struct listener *to);
int64_t udp_due(int64_t now);
void udp_close(void);

#endif
