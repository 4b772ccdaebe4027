/* The resolver at 127.0.0.11 of a container: what the parts of it share.
 *
 * Owns the sockets in the container's network and the questions that are passed on; what is
 * answered is `dns.h`'s. All memory is in one mapping, of which an idle resolver keeps little.
 */
#ifndef AIOD_NETDNS_H
#define AIOD_NETDNS_H

#include <netinet/in.h>

#include "dns.h"
#include "net.h"

enum { MOST_FORWARDS = 128, MOST_STREAMS = 32, PACKET_ROOM = 4096 };
static const int64_t SERVER_NS = 2000000000; /* for an answer of one server */
static const int64_t STREAM_NS = 10000000000; /* between two steps of a client */

/* A question that came in a datagram and was passed on in one. */
struct forward {
    struct net_source source;
    bool used;
    int fd, server;
    struct sockaddr_in client;
    uint16_t id;
    int length;
    size_t limit;
    int64_t deadline;
};

enum stream_state { STREAM_FREE, STREAM_READING, STREAM_ASKING, STREAM_WRITING };

/* A client's connection, with the one to a server while a question of it is passed on. */
struct stream {
    struct net_source source, upstream;
    enum stream_state state;
    int fd, up, server;
    uint16_t id;
    size_t length, sent, answer, asked;
    int64_t deadline;
    uint8_t *query, *reply; /* each after two bytes with its length: RFC 1035, 4.2.2 */
};

struct dns_memory {
    struct forward forwards[MOST_FORWARDS];
    struct stream streams[MOST_STREAMS];
    uint8_t queries[MOST_FORWARDS][PACKET_ROOM];
    uint8_t scratch[DNS_LARGEST + 1];
};

/* netdns.c */
struct dns_resolver {
    struct net_source datagrams, connections;
    int udp, tcp;
    bool listening;
    unsigned turn;
    int forwards, streams; /* how many are used */
    char file[4200];
    struct dns_memory *memory;
};
extern struct dns_resolver dns_resolver;
uint16_t dns_random_id(void);
/* Memory has been touched. */
void dns_warm(void);
/* Whether a server's answer is one that another might give better. */
bool dns_unhelpful(const uint8_t *answer);

/* dnsforward.c */
void dns_forward(const uint8_t *query, int length, const struct sockaddr_in *client,
                 size_t limit);
int64_t dns_forwards_due(int64_t now);
void dns_forwards_close(void);

/* dnsstream.c */
/* Accept connections, or leave them waiting for a while. */
void dns_listen(bool wanted);
void dns_accept(struct net_source *source, uint32_t events);
int64_t dns_streams_due(int64_t now);
void dns_streams_close(void);

/* netnat.c. In the container's network: have what is sent to port 53 of `address` go to `port`. 0
 * or -errno. */
int nat_redirect_names(uint32_t address, uint16_t port);

#endif
