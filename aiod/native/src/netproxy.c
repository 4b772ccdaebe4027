#define _GNU_SOURCE
#include "netproxy.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static const int64_t PAUSE_NS = 100000000;

static struct {
    struct listener *ports;
    size_t count;
    int64_t resume_at;
} proxy = {.resume_at = NET_NEVER};

static bool same_port(const struct listener *one, const struct listener *other) {
    return one->datagrams == other->datagrams && same_address(&one->host, &other->host);
}

static int watch(struct listener *port) {
    port->source.ready = port->datagrams ? udp_receive : tcp_accept;
    return net_watch(port->fd, EPOLLIN, &port->source);
}

static void end(struct listener *port) {
    if (port->datagrams)
        udp_move(port, NULL);
    net_close(&port->fd, &port->source);
}

/* ---- what the file says ---- */

static struct listener *open_already(const struct listener *wanted) {
    for (size_t i = 0; i < proxy.count; i++)
        if (same_port(&proxy.ports[i], wanted))
            return &proxy.ports[i];
    return NULL;
}

/* Open and watch those that are new. */
static int open_new(struct listener *ports, size_t count) {
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        if (!open_already(&ports[i]) && (result = port_open(&ports[i])) == 0)
            result = watch(&ports[i]);
    if (result < 0)
        for (size_t i = 0; i < count; i++)
            if (ports[i].fd >= 0)
                net_close(&ports[i].fd, &ports[i].source);
    return result;
}

/* A port that stays; its connections stay too, although the container may have another address. */
static void move(struct listener *from, struct listener *to) {
    if (from->datagrams)
        udp_move(from, same_address(&from->container, &to->container) ? to : NULL);
    net_unwatch(from->fd, &from->source);
    to->fd = from->fd;
    from->fd = -1;
    if (watch(to) < 0) /* the kernel has no memory: as if the port had never been */
        close(to->fd), to->fd = -1;
}

static void replace(struct listener *ports, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct listener *before = ports[i].fd < 0 ? open_already(&ports[i]) : NULL;
        if (before && before->fd >= 0)
            move(before, &ports[i]);
    }
    for (size_t i = 0; i < proxy.count; i++)
        if (proxy.ports[i].fd >= 0)
            end(&proxy.ports[i]);
    if (proxy.ports)
        ports_free(proxy.ports, proxy.count);
    proxy.ports = ports;
    proxy.count = count;
    proxy.resume_at = NET_NEVER;
}

static int load(const char *path) {
    struct listener *ports;
    size_t count;
    int result = ports_read(path, &ports, &count);
    if (result < 0)
        return result;
    if ((result = open_new(ports, count)) < 0) {
        ports_free(ports, count);
        return result;
    }
    replace(ports, count);
    return 0;
}

/* ---- when there is no room ---- */

static void set_paused(bool paused) {
    for (size_t i = 0; i < proxy.count; i++) {
        struct listener *port = &proxy.ports[i];
        if (port->datagrams || port->fd < 0 || port->paused == paused)
            continue;
        net_rewatch(port->fd, paused ? 0 : EPOLLIN, &port->source);
        port->paused = paused;
    }
}

void listeners_pause(void) {
    set_paused(true);
    proxy.resume_at = net_now() + PAUSE_NS;
}

void listeners_resume(void) {
    if (proxy.resume_at == NET_NEVER)
        return;
    set_paused(false);
    proxy.resume_at = NET_NEVER;
}

static int64_t earliest(int64_t one, int64_t other) {
    return one < other ? one : other;
}

static int64_t due(int64_t now) {
    if (now >= proxy.resume_at)
        listeners_resume();
    return earliest(proxy.resume_at, earliest(tcp_due(now), udp_due(now)));
}

static void close_all(void) {
    for (size_t i = 0; i < proxy.count; i++)
        if (proxy.ports[i].fd >= 0)
            end(&proxy.ports[i]);
    if (proxy.ports)
        ports_free(proxy.ports, proxy.count);
    proxy.ports = NULL;
    proxy.count = 0;
    proxy.resume_at = NET_NEVER;
    tcp_close();
    udp_close();
}

const struct net_part net_proxy = {"ports", load, due, close_all};
