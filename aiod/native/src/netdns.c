#define _GNU_SOURCE
#include "netdns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>

enum { PORT = 53, ATTEMPTS = 16, AT_ONCE = 16, BACKLOG = 64 };
static const uint32_t ADDRESS = 0x7F00000B; /* 127.0.0.11 */
static const int64_t IDLE_NS = 1000000000;

struct dns_resolver dns_resolver = {.udp = -1, .tcp = -1};
static int64_t cool_at;

uint16_t dns_random_id(void) {
    uint16_t id;
    while (getrandom(&id, sizeof id, 0) < 0 && errno == EINTR)
        ;
    return id;
}

void dns_warm(void) {
    cool_at = net_now() + IDLE_NS;
}

bool dns_unhelpful(const uint8_t *answer) {
    int code = answer[3] & 0x0F;
    return code == DNS_SERVFAIL || code == DNS_REFUSED || code == DNS_NOTIMP;
}

/* ---- datagrams ---- */

static bool answer_datagram(void) {
    uint8_t *query = dns_resolver.memory->scratch, answer[PACKET_ROOM];
    struct sockaddr_in client;
    struct iovec part = {query, DNS_LARGEST};
    struct msghdr head = {.msg_name = &client, .msg_namelen = sizeof client, .msg_iov = &part,
                          .msg_iovlen = 1};
    ssize_t length = recvmsg(dns_resolver.udp, &head, MSG_DONTWAIT);
    if (length < 0)
        return errno != EAGAIN;
    int limit = aiod_dns_limit(query, (int)length);
    int made = aiod_dns_answer(dns_resolver.file, query, (int)length, limit, dns_resolver.turn++,
                               answer);
    if (made == AIOD_DNS_FORWARD)
        dns_forward(query, (int)length, &client, (size_t)limit);
    else if (made > 0)
        sendto(dns_resolver.udp, answer, (size_t)made, MSG_DONTWAIT, (struct sockaddr *)&client,
               sizeof client);
    return true;
}

static void answer_datagrams(struct net_source *source, uint32_t events) {
    (void)source, (void)events;
    for (int i = 0; i < AT_ONCE && answer_datagram(); i++)
        ;
    dns_warm();
}

/* ---- sockets ---- */

static int bind_to(int fd, uint16_t port) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(ADDRESS)};
    /* The loopback may not be up yet. */
    if (setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    return 0;
}

static int port_of(int fd) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return -errno;
    return ntohs(address.sin_port);
}

static void close_sockets(void) {
    net_close(&dns_resolver.udp, &dns_resolver.datagrams);
    net_close(&dns_resolver.tcp, &dns_resolver.connections);
}

/* Both on one port, 0 for any; the port or -errno. */
static int open_sockets(uint16_t port) {
    int kind = SOCK_CLOEXEC | SOCK_NONBLOCK, error = -EADDRINUSE;
    for (int i = 0; i < ATTEMPTS && error == -EADDRINUSE; i++) {
        dns_resolver.udp = socket(AF_INET, SOCK_DGRAM | kind, 0);
        dns_resolver.tcp = socket(AF_INET, SOCK_STREAM | kind, 0);
        error = dns_resolver.udp < 0 || dns_resolver.tcp < 0 ? -errno : 0;
        if (error == 0 && (error = bind_to(dns_resolver.udp, port)) == 0)
            error = port_of(dns_resolver.udp);
        int result = error > 0 ? bind_to(dns_resolver.tcp, (uint16_t)error) : 0;
        if (error > 0 && result == 0 && listen(dns_resolver.tcp, BACKLOG) < 0)
            result = -errno;
        if (error > 0 && result == 0)
            return error;
        error = result < 0 ? result : error;
        close_sockets();
    }
    return error;
}

/* The container may want port 53 of every address for itself; so another is taken, unless the
 * kernel redirects nothing. */
static int open_inside(void) {
    int port = open_sockets(0);
    if (port < 0)
        return port;
    if (nat_redirect_names(ADDRESS, (uint16_t)port) == 0)
        return 0;
    close_sockets();
    port = open_sockets(PORT);
    return port < 0 ? port : 0;
}

static int open_resolver(void) {
    int error = net_enter();
    if (error == 0) {
        error = open_inside();
        net_leave();
    }
    if (error < 0)
        return net_fail(error, "listen at 127.0.0.11");
    void *memory = mmap(NULL, sizeof *dns_resolver.memory, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return net_fail(-errno, "memory for names");
    dns_resolver.memory = memory;
    dns_resolver.datagrams.ready = answer_datagrams;
    dns_resolver.connections.ready = dns_accept;
    dns_resolver.listening = true;
    error = net_watch(dns_resolver.udp, EPOLLIN, &dns_resolver.datagrams);
    if (error == 0)
        error = net_watch(dns_resolver.tcp, EPOLLIN, &dns_resolver.connections);
    return error;
}

/* ---- the part ---- */

/* What is in the file is looked at for each query. */
static int load(const char *path) {
    snprintf(dns_resolver.file, sizeof dns_resolver.file, "%s", path);
    return dns_resolver.memory ? 0 : open_resolver();
}

/* What a burst has touched goes back a while after its end. */
static void cool(int64_t now) {
    if (cool_at == 0 || cool_at > now)
        return;
    cool_at = 0;
    dns_listen(true);
    madvise(dns_resolver.memory, sizeof *dns_resolver.memory, MADV_DONTNEED);
}

static int64_t due(int64_t now) {
    int64_t forwards = dns_resolver.forwards ? dns_forwards_due(now) : NET_NEVER;
    int64_t streams = dns_resolver.streams ? dns_streams_due(now) : NET_NEVER;
    if (dns_resolver.forwards || dns_resolver.streams)
        dns_warm();
    cool(now);
    int64_t next = cool_at ? cool_at : NET_NEVER;
    next = forwards < next ? forwards : next;
    return streams < next ? streams : next;
}

static void close_resolver(void) {
    close_sockets();
    if (dns_resolver.memory == NULL)
        return;
    dns_forwards_close();
    dns_streams_close();
    munmap(dns_resolver.memory, sizeof *dns_resolver.memory);
    dns_resolver.memory = NULL;
}

const struct net_part net_dns = {"resolver", load, due, close_resolver};
