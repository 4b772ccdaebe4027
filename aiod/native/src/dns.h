/* Names of containers: packets of RFC 1035 and the tables that a daemon writes.
 *
 * Owns what a query means and what is answered without asking others; opens no socket. Files are
 * looked at for each query, so that what a daemon has replaced holds at once, and nothing is kept.
 */
#ifndef AIOD_DNS_H
#define AIOD_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "dns.cdef"

enum { DNS_HEADER = 12, DNS_SMALLEST = 512, DNS_LARGEST = 65535, DNS_NAME = 256 };
enum { DNS_A = 1, DNS_PTR = 12, DNS_AAAA = 28, DNS_OPT = 41, DNS_ANY = 255 };
enum { DNS_NOERROR, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED };

/* dnspacket.c. A query; `name` is in lower case without the last dot, empty for the root and for
 * names that no table can hold. */
struct dns_query {
    const uint8_t *packet;
    uint16_t type, class;
    size_t end; /* of the question */
    bool edns;
    size_t udp_size;
    char name[DNS_NAME];
};

/* 0, a response code that is to be answered, or AIOD_DNS_DROP. */
int dns_parse(const uint8_t *packet, size_t length, struct dns_query *query);
/* The response code alone; its length. */
size_t dns_refuse(const struct dns_query *query, int code, uint8_t *answer);

struct dns_answer {
    const struct dns_query *query;
    uint8_t *packet;
    size_t length, limit;
    bool cut;
};

void dns_begin(struct dns_answer *answer, const struct dns_query *query, uint8_t *packet,
               size_t limit);
void dns_add_address(struct dns_answer *answer, int family, const void *address);
/* Labels of `text`, which a dot ends each. */
void dns_add_pointer(struct dns_answer *answer, const char *text);
size_t dns_end(struct dns_answer *answer);

/* dnsnames.c */
enum { DNS_MOST_HOLDERS = 512 };

/* The addresses of a name; `known` also if it has none of the family asked for. */
struct dns_found {
    bool known;
    int count4, count6;
    struct in_addr four[DNS_MOST_HOLDERS];
    struct in6_addr six[DNS_MOST_HOLDERS];
};

void dns_find_name(const char *resolver, const char *name, uint16_t type,
                   struct dns_found *found);
/* `name.network` of an address; false if no table has it. */
bool dns_find_address(const char *resolver, int family, const void *address, char *name,
                      size_t size);

struct dns_server {
    bool inside; /* to be asked from the container's network */
    socklen_t length;
    struct sockaddr_storage address;
};

/* The `number`-th of the servers to ask; false if there are no more. */
bool dns_find_server(const char *resolver, int number, struct dns_server *server);

#endif
