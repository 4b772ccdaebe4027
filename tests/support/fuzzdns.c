/* Feeds random and mutated packets to the resolver's own code, each in memory of exactly its
 * size, so that a sanitizer sees every byte too far. Usage: fuzzdns RESOLVER SEED ROUNDS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dns.h"

static const unsigned char sample[] =
    "\0\7\1\0\0\1\0\0\0\0\0\1\3web\4back\0\0\1\0\1\0\0\x29\x04\xd0\0\0\0\0\0\0";
static const unsigned char reverse[] =
    "\0\7\1\0\0\1\0\0\0\0\0\0\1\x32\1\x30\2\x31\x39\3\x31\x37\x32\7in-addr\4arpa\0\0\x0c\0\1";

static size_t make(unsigned char *packet) {
    size_t size;
    if (rand() % 4 == 0) {
        size = (size_t)(rand() % 600);
        for (size_t i = 0; i < size; i++)
            packet[i] = (unsigned char)rand();
        if (size > 5 && rand() % 2) {
            memcpy(packet + 2, sample + 2, 4);
        }
        return size;
    }
    int which = rand() % 2;
    size = which ? sizeof sample - 1 : sizeof reverse - 1;
    memcpy(packet, which ? sample : reverse, size);
    for (int changes = rand() % 6; changes > 0; changes--)
        packet[(size_t)rand() % size] = (unsigned char)rand();
    if (rand() % 3 == 0)
        size = (size_t)rand() % (size + 1);
    return size;
}

int main(int argc, char **argv) {
    unsigned char packet[1024];
    if (argc != 4)
        return 2;
    srand((unsigned)atoi(argv[2]));
    long kept[3] = {0};
    for (long round = atol(argv[3]); round > 0; round--) {
        size_t size = make(packet);
        unsigned char *exact = malloc(size ? size : 1);
        memcpy(exact, packet, size);
        int limit = aiod_dns_limit(exact, (int)size);
        unsigned char *room = malloc((size_t)limit);
        int made = aiod_dns_answer(argv[1], exact, (int)size, limit, (unsigned)rand(), room);
        if (made > limit)
            return 3;
        kept[made > 0 ? 2 : made + 1]++;
        size_t other = make(packet);
        unsigned char *heard = malloc(other ? other : 1);
        memcpy(heard, packet, other);
        aiod_dns_matches(exact, (int)size, heard, (int)other, 7);
        free(heard);
        free(room);
        free(exact);
    }
    printf("%ld dropped, %ld passed on, %ld answered\n", kept[0], kept[1], kept[2]);
    return kept[0] && kept[1] && kept[2] ? 0 : 4;
}
