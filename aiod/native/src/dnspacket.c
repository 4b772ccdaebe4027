#define _GNU_SOURCE
#include "dns.h"

#include <ctype.h>
#include <string.h>
#include <arpa/inet.h>

enum { QUERY_BIT = 0x80, OPCODE = 0x78, TRUNCATED = 0x02, WISHED = 0x01, OFFERED = 0x80 };
enum { OPT_SIZE = 11, UDP_SIZE = 4096, RECORD_HEAD = 10, TO_QUESTION = 0xC00C };
static const uint32_t TTL = 600; /* seconds, as Docker has it */

static uint16_t get16(const uint8_t *at) {
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, size_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* ---- reading ---- */

/* A label's bytes to text; false for what no table can hold. */
static bool take_label(char *text, const uint8_t *label, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (label[i] <= ' ' || label[i] == '.' || label[i] > '~')
            return false;
        text[i] = (char)tolower(label[i]);
    }
    return true;
}

/* RFC 1035, 4.1.2: the question's name, which nothing comes before that it could point to.
 * Returns where it ends, 0 if it does not. */
static size_t read_name(const uint8_t *packet, size_t length, size_t at, char *text) {
    size_t written = 0, begin = at;
    bool plain = true;
    while (at < length && packet[at] != 0) {
        size_t size = packet[at];
        if (size > 63 || at + 1 + size >= length || at + 1 + size - begin >= 255)
            return 0;
        if (written > 0)
            text[written++] = '.';
        plain = take_label(text + written, packet + at + 1, size) && plain;
        written += size;
        at += 1 + size;
    }
    text[plain ? written : 0] = 0;
    return at < length ? at + 1 : 0;
}

/* Where a record's name ends, whatever it says; 0 if it does not. */
static size_t skip_name(const uint8_t *packet, size_t length, size_t at) {
    while (at < length) {
        if (packet[at] == 0)
            return at + 1;
        if (packet[at] >= 0xC0)
            return at + 2 <= length ? at + 2 : 0;
        if (packet[at] > 63)
            return 0;
        at += 1 + (size_t)packet[at];
    }
    return 0;
}

/* RFC 6891: what the sender says of itself is in a record like any other. */
static int read_records(struct dns_query *query, size_t length) {
    const uint8_t *packet = query->packet;
    size_t at = query->end;
    unsigned count = (unsigned)get16(packet + 6) + get16(packet + 8) + get16(packet + 10);
    for (unsigned i = 0; i < count; i++) {
        at = skip_name(packet, length, at);
        if (at == 0 || at + RECORD_HEAD > length)
            return DNS_FORMERR;
        if (get16(packet + at) == DNS_OPT) {
            query->edns = true;
            query->udp_size = get16(packet + at + 2);
        }
        at += RECORD_HEAD + (size_t)get16(packet + at + 8);
        if (at > length)
            return DNS_FORMERR;
    }
    return 0;
}

int dns_parse(const uint8_t *packet, size_t length, struct dns_query *query) {
    *query = (struct dns_query){.packet = packet, .end = DNS_HEADER};
    if (length < DNS_HEADER || (packet[2] & QUERY_BIT))
        return AIOD_DNS_DROP;
    if (packet[2] & OPCODE)
        return DNS_NOTIMP;
    if (get16(packet + 4) != 1)
        return DNS_FORMERR;
    size_t end = read_name(packet, length, DNS_HEADER, query->name);
    if (end == 0 || end + 4 > length) {
        query->name[0] = 0;
        return DNS_FORMERR;
    }
    query->type = get16(packet + end);
    query->class = get16(packet + end + 2);
    query->end = end + 4;
    int result = read_records(query, length);
    if (query->udp_size < DNS_SMALLEST)
        query->udp_size = DNS_SMALLEST;
    if (query->udp_size > UDP_SIZE)
        query->udp_size = UDP_SIZE;
    return result;
}

int aiod_dns_limit(const uint8_t *query, int length) {
    struct dns_query parsed;
    return dns_parse(query, (size_t)length, &parsed) == 0 ? (int)parsed.udp_size : DNS_SMALLEST;
}

int aiod_dns_matches(const uint8_t *query, int query_length, const uint8_t *answer, int length,
                     int id) {
    struct dns_query asked;
    if (length < DNS_HEADER || !(answer[2] & QUERY_BIT) || get16(answer) != id ||
        dns_parse(query, (size_t)query_length, &asked) != 0)
        return 0;
    int code = answer[3] & 0x0F;
    if (get16(answer + 4) == 0) /* a server may repeat no question that it refuses */
        return code != DNS_NOERROR && code != DNS_NXDOMAIN;
    if (get16(answer + 4) != 1 || (size_t)length < asked.end)
        return 0;
    for (size_t i = DNS_HEADER; i < asked.end; i++) /* a length is no letter */
        if (tolower(query[i]) != tolower(answer[i]))
            return 0;
    return 1;
}

/* ---- writing ---- */

static void write_header(const struct dns_query *query, int code, uint8_t *answer) {
    memset(answer, 0, DNS_HEADER);
    memcpy(answer, query->packet, 2);
    answer[2] = (uint8_t)(QUERY_BIT | (query->packet[2] & (OPCODE | WISHED)));
    answer[3] = (uint8_t)(OFFERED | code);
}

static size_t write_opt(uint8_t *at) {
    memset(at, 0, OPT_SIZE);
    put16(at + 1, DNS_OPT);
    put16(at + 3, UDP_SIZE);
    return OPT_SIZE;
}

size_t dns_refuse(const struct dns_query *query, int code, uint8_t *answer) {
    struct dns_answer refusal;
    if (query->end == DNS_HEADER) {
        write_header(query, code, answer);
        return DNS_HEADER;
    }
    dns_begin(&refusal, query, answer, DNS_SMALLEST);
    answer[3] = (uint8_t)(OFFERED | code);
    return dns_end(&refusal);
}

void dns_begin(struct dns_answer *answer, const struct dns_query *query, uint8_t *packet,
               size_t limit) {
    *answer = (struct dns_answer){query, packet, query->end, limit, false};
    write_header(query, DNS_NOERROR, packet);
    memcpy(packet + DNS_HEADER, query->packet + DNS_HEADER, query->end - DNS_HEADER);
    packet[5] = 1;
    if (query->edns)
        answer->limit -= OPT_SIZE;
}

/* Room for a record with `size` bytes of data; NULL if it is left out. */
static uint8_t *add_record(struct dns_answer *answer, uint16_t type, size_t size) {
    uint8_t *at = answer->packet + answer->length;
    if (answer->cut || answer->length + 2 + RECORD_HEAD + size > answer->limit) {
        answer->cut = true;
        return NULL;
    }
    put16(at, TO_QUESTION);
    put16(at + 2, type);
    put16(at + 4, 1);
    put16(at + 6, TTL >> 16);
    put16(at + 8, TTL & 0xFFFF);
    put16(at + 10, size);
    answer->length += 2 + RECORD_HEAD + size;
    put16(answer->packet + 6, get16(answer->packet + 6) + 1u);
    return at + 2 + RECORD_HEAD;
}

void dns_add_address(struct dns_answer *answer, int family, const void *address) {
    size_t size = family == AF_INET ? 4 : 16;
    uint8_t *data = add_record(answer, family == AF_INET ? DNS_A : DNS_AAAA, size);
    if (data)
        memcpy(data, address, size);
}

void dns_add_pointer(struct dns_answer *answer, const char *text) {
    uint8_t name[DNS_NAME];
    size_t size = 0;
    while (*text) {
        size_t label = strcspn(text, ".");
        if (label == 0 || label > 63 || size + label + 2 > 255)
            return; /* a name that DNS cannot say */
        name[size] = (uint8_t)label;
        memcpy(name + size + 1, text, label);
        size += 1 + label;
        text += label + (text[label] == '.');
    }
    name[size++] = 0;
    uint8_t *data = add_record(answer, DNS_PTR, size);
    if (data)
        memcpy(data, name, size);
}

size_t dns_end(struct dns_answer *answer) {
    if (answer->cut)
        answer->packet[2] |= TRUNCATED;
    if (answer->query->edns) {
        answer->length += write_opt(answer->packet + answer->length);
        answer->packet[11] = 1;
    }
    return answer->length;
}
