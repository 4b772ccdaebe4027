#define _GNU_SOURCE
#include "netdns.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static uint8_t *query_of(struct forward *forward) {
    return dns_resolver.memory->queries[forward - dns_resolver.memory->forwards];
}

static void finish(struct forward *forward) {
    net_close(&forward->fd, &forward->source);
    forward->used = false;
    dns_resolver.forwards--;
}

static void reply(const struct sockaddr_in *client, const uint8_t *answer, size_t length) {
    ssize_t ignored = sendto(dns_resolver.udp, answer, length, MSG_DONTWAIT,
                             (const struct sockaddr *)client, sizeof *client);
    (void)ignored;
}

static void refuse(const struct sockaddr_in *client, const uint8_t *packet, int length) {
    uint8_t answer[DNS_SMALLEST];
    struct dns_query query;
    if (dns_parse(packet, (size_t)length, &query) == 0)
        reply(client, answer, dns_refuse(&query, DNS_SERVFAIL, answer));
}

static void give_up(struct forward *forward) {
    refuse(&forward->client, query_of(forward), forward->length);
    finish(forward);
}

/* The identity and the port are new for each server, so that only who sees the question can
 * answer it. */
static int send_to(struct forward *forward, const struct dns_server *server) {
    const struct sockaddr *address = (const struct sockaddr *)&server->address;
    uint8_t *query = query_of(forward);
    forward->fd = net_socket(server->inside, address->sa_family, SOCK_DGRAM, 0);
    if (forward->fd < 0)
        return forward->fd;
    uint8_t own[2] = {query[0], query[1]};
    forward->id = dns_random_id();
    query[0] = (uint8_t)(forward->id >> 8);
    query[1] = (uint8_t)forward->id;
    int result = net_watch(forward->fd, EPOLLIN, &forward->source);
    if (result == 0 && (connect(forward->fd, address, server->length) < 0 ||
                        send(forward->fd, query, (size_t)forward->length, 0) < 0))
        result = -errno;
    memcpy(query, own, sizeof own);
    if (result < 0)
        net_close(&forward->fd, &forward->source);
    return result;
}

/* Ask the next server that can be asked; the end if there is none. */
static void ask(struct forward *forward) {
    struct dns_server server;
    net_close(&forward->fd, &forward->source);
    while (dns_find_server(dns_resolver.file, forward->server++, &server))
        if (send_to(forward, &server) == 0) {
            forward->deadline = net_now() + SERVER_NS;
            return;
        }
    give_up(forward);
}

/* What does not fit is left out, and the client asks again by TCP: RFC 2181, section 9. */
static size_t fitting(struct forward *forward, uint8_t *answer, size_t length) {
    struct dns_query query;
    if (length <= forward->limit || dns_parse(query_of(forward), (size_t)forward->length, &query))
        return length;
    answer[2] |= 0x02;
    memset(answer + 6, 0, 6);
    return query.end;
}

static void take_answer(struct net_source *source, uint32_t events) {
    struct forward *forward = (struct forward *)source;
    uint8_t *answer = dns_resolver.memory->scratch, *query = query_of(forward);
    struct dns_server another;
    (void)events;
    ssize_t length = recv(forward->fd, answer, DNS_LARGEST, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length < 0) {
        ask(forward); /* nobody is there */
        return;
    }
    if (!aiod_dns_matches(query, forward->length, answer, (int)length, forward->id))
        return; /* the true one may still come */
    if (dns_unhelpful(answer) && dns_find_server(dns_resolver.file, forward->server, &another)) {
        ask(forward);
        return;
    }
    memcpy(answer, query, 2);
    reply(&forward->client, answer, fitting(forward, answer, (size_t)length));
    finish(forward);
}

static struct forward *unused(void) {
    for (int i = 0; i < MOST_FORWARDS; i++)
        if (!dns_resolver.memory->forwards[i].used)
            return dns_resolver.memory->forwards + i;
    return NULL;
}

void dns_forward(const uint8_t *query, int length, const struct sockaddr_in *client,
                 size_t limit) {
    struct forward *forward = length <= PACKET_ROOM ? unused() : NULL;
    if (forward == NULL) {
        refuse(client, query, length);
        return;
    }
    *forward = (struct forward){{take_answer}, true, -1, 0, *client, 0, length, limit, 0};
    memcpy(query_of(forward), query, (size_t)length);
    dns_resolver.forwards++;
    ask(forward);
}

int64_t dns_forwards_due(int64_t now) {
    int64_t next = NET_NEVER;
    for (int i = 0; i < MOST_FORWARDS; i++) {
        struct forward *forward = dns_resolver.memory->forwards + i;
        if (forward->used && forward->deadline <= now)
            ask(forward);
        if (forward->used && forward->deadline < next)
            next = forward->deadline;
    }
    return next;
}

void dns_forwards_close(void) {
    for (int i = 0; dns_resolver.forwards && i < MOST_FORWARDS; i++)
        if (dns_resolver.memory->forwards[i].used)
            finish(dns_resolver.memory->forwards + i);
}
