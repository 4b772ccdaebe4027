#define _GNU_SOURCE
#include "dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

/* One thread answers at a time, and its stack is small. */
static struct dns_found found;

/* RFC 1035, 3.5: `4.3.2.1.in-addr.arpa`. */
static bool reverse4(const char *name, void *address) {
    unsigned parts[4];
    int length = 0;
    uint8_t *bytes = address;
    if (sscanf(name, "%3u.%3u.%3u.%3u%n", parts, parts + 1, parts + 2, parts + 3, &length) != 4 ||
        strcmp(name + length, ".in-addr.arpa") != 0)
        return false;
    for (int i = 0; i < 4; i++) {
        if (parts[3 - i] > 255)
            return false;
        bytes[i] = (uint8_t)parts[3 - i];
    }
    return true;
}

static int hex(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* RFC 3596, 2.5: 32 digits with a dot after each, from the last. */
static bool reverse6(const char *name, void *address) {
    uint8_t *bytes = address;
    if (strlen(name) != 64 + strlen("ip6.arpa") || strcmp(name + 64, "ip6.arpa") != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        const char *at = name + 60 - 4 * i;
        int low = hex(at[0]), high = hex(at[2]);
        if (low < 0 || high < 0 || at[1] != '.' || at[3] != '.')
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool add_holder(const char *resolver, struct dns_answer *answer) {
    const char *name = answer->query->name;
    uint8_t address[16];
    char holder[2 * DNS_NAME];
    int family = reverse4(name, address) ? AF_INET : reverse6(name, address) ? AF_INET6 : 0;
    if (family == 0 || !dns_find_address(resolver, family, address, holder, sizeof holder))
        return false;
    if (answer->query->type == DNS_PTR || answer->query->type == DNS_ANY)
        dns_add_pointer(answer, holder);
    return true;
}

static bool add_addresses(const char *resolver, struct dns_answer *answer, unsigned turn) {
    uint16_t type = answer->query->type;
    dns_find_name(resolver, answer->query->name, type, &found);
    if (type == DNS_A || type == DNS_ANY)
        for (unsigned i = 0; i < (unsigned)found.count4; i++)
            dns_add_address(answer, AF_INET, found.four + (turn + i) % (unsigned)found.count4);
    if (type == DNS_AAAA || type == DNS_ANY)
        for (unsigned i = 0; i < (unsigned)found.count6; i++)
            dns_add_address(answer, AF_INET6, found.six + (turn + i) % (unsigned)found.count6);
    return found.known;
}

int aiod_dns_answer(const char *resolver, const uint8_t *packet, int length, int limit,
                    unsigned turn, uint8_t *answer) {
    struct dns_query query;
    struct dns_answer made;
    int code = dns_parse(packet, (size_t)length, &query);
    if (code == AIOD_DNS_DROP)
        return code;
    if (code != 0)
        return (int)dns_refuse(&query, code, answer);
    if (query.class != 1 || query.name[0] == 0)
        return AIOD_DNS_FORWARD;
    dns_begin(&made, &query, answer, (size_t)limit);
    if (!add_addresses(resolver, &made, turn) && !add_holder(resolver, &made))
        return AIOD_DNS_FORWARD;
    return (int)dns_end(&made);
}
