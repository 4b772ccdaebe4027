#define _GNU_SOURCE
#include "netdns.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { REPLY_ROOM = DNS_LARGEST + 2, ROOM = PACKET_ROOM + REPLY_ROOM };

static size_t size_at(const uint8_t *at) {
    return (size_t)at[0] << 8 | at[1];
}

static void set_size(uint8_t *at, size_t size) {
    at[0] = (uint8_t)(size >> 8);
    at[1] = (uint8_t)size;
}

void dns_listen(bool wanted) {
    if (dns_resolver.listening == wanted || dns_resolver.tcp < 0)
        return;
    dns_resolver.listening = wanted;
    net_rewatch(dns_resolver.tcp, wanted ? EPOLLIN : 0, &dns_resolver.connections);
}

static void hang_up(struct stream *stream) {
    net_close(&stream->fd, &stream->source);
    net_close(&stream->up, &stream->upstream);
    munmap(stream->query, ROOM);
    stream->state = STREAM_FREE;
    dns_resolver.streams--;
    dns_listen(true);
}

static void enter(struct stream *stream, enum stream_state state, uint32_t events) {
    stream->state = state;
    stream->deadline = net_now() + (state == STREAM_ASKING ? SERVER_NS : STREAM_NS);
    net_rewatch(stream->fd, events, &stream->source);
}

static void write_reply(struct stream *stream) {
    size_t whole = 2 + size_at(stream->reply);
    ssize_t sent = send(stream->fd, stream->reply + stream->sent, whole - stream->sent,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(stream);
        return;
    }
    stream->sent += sent > 0 ? (size_t)sent : 0;
    if (stream->sent < whole) {
        enter(stream, STREAM_WRITING, EPOLLOUT);
        return;
    }
    size_t question = 2 + size_at(stream->query);
    stream->length -= question;
    memmove(stream->query, stream->query + question, stream->length);
    enter(stream, STREAM_READING, EPOLLIN);
}

static void answer(struct stream *stream, size_t size) {
    set_size(stream->reply, size);
    stream->sent = 0;
    write_reply(stream);
}

static void give_up(struct stream *stream) {
    struct dns_query query;
    if (dns_parse(stream->query + 2, size_at(stream->query), &query) != 0)
        hang_up(stream);
    else
        answer(stream, dns_refuse(&query, DNS_SERVFAIL, stream->reply + 2));
}

/* ---- passing on ---- */

static int connect_to(struct stream *stream, const struct dns_server *server) {
    const struct sockaddr *address = (const struct sockaddr *)&server->address;
    stream->up = net_socket(server->inside, address->sa_family, SOCK_STREAM, 0);
    if (stream->up < 0)
        return stream->up;
    int result = net_watch(stream->up, EPOLLOUT, &stream->upstream);
    if (result == 0 && connect(stream->up, address, server->length) < 0 && errno != EINPROGRESS)
        result = -errno;
    if (result < 0)
        net_close(&stream->up, &stream->upstream);
    return result;
}

static void ask(struct stream *stream) {
    struct dns_server server;
    net_close(&stream->up, &stream->upstream);
    stream->id = dns_random_id();
    stream->asked = stream->answer = 0;
    while (dns_find_server(dns_resolver.file, stream->server++, &server))
        if (connect_to(stream, &server) == 0) {
            enter(stream, STREAM_ASKING, 0);
            return;
        }
    give_up(stream);
}

/* 1 when all is sent, 0 when more is to be, -1 when it cannot. */
static int send_question(struct stream *stream) {
    size_t whole = 2 + size_at(stream->query);
    uint8_t packet[PACKET_ROOM];
    memcpy(packet, stream->query, whole);
    set_size(packet + 2, stream->id);
    ssize_t sent = send(stream->up, packet + stream->asked, whole - stream->asked,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN ? 0 : -1;
    stream->asked += (size_t)sent;
    return stream->asked == whole;
}

/* 1 when the answer is whole, 0 when more is to come, -1 when none will. */
static int read_answer(struct stream *stream) {
    size_t wanted = stream->answer < 2 ? 2 : 2 + size_at(stream->reply);
    ssize_t got = recv(stream->up, stream->reply + stream->answer, wanted - stream->answer,
                       MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    stream->answer += (size_t)got;
    return stream->answer > 2 && stream->answer == 2 + size_at(stream->reply);
}

static void relay(struct stream *stream) {
    size_t size = size_at(stream->reply);
    struct dns_server another;
    bool fits = aiod_dns_matches(stream->query + 2, (int)size_at(stream->query),
                                 stream->reply + 2, (int)size, stream->id);
    if (!fits || (dns_unhelpful(stream->reply + 2) &&
                  dns_find_server(dns_resolver.file, stream->server, &another))) {
        ask(stream);
        return;
    }
    net_close(&stream->up, &stream->upstream);
    memcpy(stream->reply + 2, stream->query + 2, 2);
    answer(stream, size);
}

/* ---- the client ---- */

/* A question that is there, whole, is answered or passed on; false if there is none. */
static bool take_question(struct stream *stream) {
    size_t size = stream->length < 2 ? 0 : size_at(stream->query);
    if (stream->length < 2 || (size > 0 && size <= PACKET_ROOM - 2 && stream->length < 2 + size))
        return false;
    if (size == 0 || size > PACKET_ROOM - 2) {
        hang_up(stream);
        return false;
    }
    int made = aiod_dns_answer(dns_resolver.file, stream->query + 2, (int)size, DNS_LARGEST,
                               dns_resolver.turn++, stream->reply + 2);
    stream->server = 0;
    if (made == AIOD_DNS_DROP)
        hang_up(stream);
    else if (made == AIOD_DNS_FORWARD)
        ask(stream);
    else
        answer(stream, (size_t)made);
    return true;
}

/* A client may send many before it reads; one by one they are answered. */
static void take_questions(struct stream *stream) {
    while (stream->state == STREAM_READING && take_question(stream))
        ;
}

static void hear_server(struct net_source *source, uint32_t events) {
    struct stream *stream = (struct stream *)((char *)source - offsetof(struct stream, upstream));
    int done;
    (void)events;
    if (stream->asked < 2 + size_at(stream->query)) {
        done = send_question(stream);
        if (done == 1)
            net_rewatch(stream->up, EPOLLIN, &stream->upstream);
    } else if ((done = read_answer(stream)) == 1) {
        relay(stream);
    }
    if (done < 0)
        ask(stream);
    take_questions(stream);
}

static void read_client(struct stream *stream) {
    ssize_t got = recv(stream->fd, stream->query + stream->length, PACKET_ROOM - stream->length,
                       MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        hang_up(stream);
        return;
    }
    stream->length += (size_t)got;
    enter(stream, STREAM_READING, EPOLLIN);
}

static void hear_client(struct net_source *source, uint32_t events) {
    struct stream *stream = (struct stream *)source;
    if (stream->state == STREAM_ASKING) {
        if (events & (EPOLLHUP | EPOLLERR))
            hang_up(stream);
        return;
    }
    if (stream->state == STREAM_WRITING)
        write_reply(stream);
    else
        read_client(stream);
    take_questions(stream);
}

static struct stream *unused(void) {
    for (int i = 0; i < MOST_STREAMS; i++)
        if (dns_resolver.memory->streams[i].state == STREAM_FREE)
            return dns_resolver.memory->streams + i;
    return NULL;
}

static void open_stream(struct stream *stream, int fd) {
    void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        close(fd);
        return;
    }
    *stream = (struct stream){.source = {hear_client}, .upstream = {hear_server},
                              .state = STREAM_READING, .fd = fd, .up = -1,
                              .deadline = net_now() + STREAM_NS, .query = room,
                              .reply = (uint8_t *)room + PACKET_ROOM};
    dns_resolver.streams++;
    if (net_watch(fd, EPOLLIN, &stream->source) < 0)
        hang_up(stream);
}

void dns_accept(struct net_source *source, uint32_t events) {
    (void)source, (void)events;
    struct stream *stream = unused();
    if (stream == NULL) {
        dns_listen(false);
        return;
    }
    int fd = accept4(dns_resolver.tcp, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    dns_warm();
    if (fd >= 0)
        open_stream(stream, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        dns_listen(false); /* until it is idle, or one of the others ends */
}

int64_t dns_streams_due(int64_t now) {
    int64_t next = NET_NEVER;
    for (int i = 0; i < MOST_STREAMS; i++) {
        struct stream *stream = dns_resolver.memory->streams + i;
        if (stream->state == STREAM_ASKING && stream->deadline <= now)
            ask(stream);
        else if (stream->state != STREAM_FREE && stream->deadline <= now)
            hang_up(stream);
        take_questions(stream);
        if (stream->state != STREAM_FREE && stream->deadline < next)
            next = stream->deadline;
    }
    return next;
}

void dns_streams_close(void) {
    for (int i = 0; dns_resolver.streams && i < MOST_STREAMS; i++)
        if (dns_resolver.memory->streams[i].state != STREAM_FREE)
            hang_up(dns_resolver.memory->streams + i);
}
