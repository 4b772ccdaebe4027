#define _GNU_SOURCE
#include "dns.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { DNS_PORT = 53, PATH = 4200, SMALL = 16384 };

/* ---- text files ---- */

/* A file as it is now; whoever replaces it does so whole. A small one is copied, which is the
 * quicker, a large one mapped, of which shims share the memory. */
struct view {
    const char *text;
    size_t size;
    bool mapped;
};

/* The one that lists tables, and one table: never more at a time. */
enum { LIST, TABLE, BUFFERS };
static char buffers[BUFFERS][SMALL];

static struct view copy_of(int fd, size_t size, int buffer) {
    ssize_t length = read(fd, buffers[buffer], size);
    return length > 0 ? (struct view){buffers[buffer], (size_t)length, false}
                      : (struct view){NULL, 0, false};
}

static struct view map_of(int fd, size_t size) {
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    return map != MAP_FAILED ? (struct view){map, size, true} : (struct view){NULL, 0, false};
}

static struct view look_at(const char *path, int buffer) {
    struct view view = {NULL, 0, false};
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return view;
    if (fstat(fd, &found) == 0 && found.st_size > 0)
        view = found.st_size <= SMALL ? copy_of(fd, (size_t)found.st_size, buffer)
                                      : map_of(fd, (size_t)found.st_size);
    close(fd);
    return view;
}

static void look_away(struct view view) {
    if (view.mapped)
        munmap((void *)view.text, view.size);
}

/* Part of a file, which no 0 ends. */
struct words {
    const char *at, *end;
};

/* The part up to the next `end`, taken off what is left. */
static struct words take(struct words *left, char end) {
    struct words taken = {left->at, memchr(left->at, end, (size_t)(left->end - left->at))};
    if (taken.end == NULL)
        taken.end = left->end;
    left->at = taken.end < left->end ? taken.end + 1 : left->end;
    return taken;
}

static bool is(struct words word, const char *text) {
    size_t length = (size_t)(word.end - word.at);
    return strlen(text) == length && strncasecmp(word.at, text, length) == 0;
}

static bool copy(struct words word, char *text, size_t size) {
    size_t length = (size_t)(word.end - word.at);
    if (length >= size)
        return false;
    memcpy(text, word.at, length);
    text[length] = 0;
    return true;
}

static struct words all(struct view view) {
    return (struct words){view.text, view.text + view.size};
}

/* ---- one network's table ---- */

static void add_address(struct words word, struct dns_found *found) {
    char text[INET6_ADDRSTRLEN];
    if (!copy(word, text, sizeof text))
        return;
    if (found->count4 < DNS_MOST_HOLDERS && inet_pton(AF_INET, text, found->four + found->count4))
        found->count4++;
    else if (found->count6 < DNS_MOST_HOLDERS &&
             inet_pton(AF_INET6, text, found->six + found->count6) == 1)
        found->count6++;
}

/* A line `end ADDRESS,... NAME NAME ...`, of which the first word is taken. */
static void match_end(struct words line, const char *name, struct dns_found *found) {
    struct words addresses = take(&line, ' ');
    while (line.at < line.end)
        if (is(take(&line, ' '), name)) {
            found->known = true;
            while (addresses.at < addresses.end)
                add_address(take(&addresses, ','), found);
            return;
        }
}

static void find_in_table(struct view table, const char *name, struct dns_found *found) {
    struct words left = all(table);
    while (left.at < left.end) {
        struct words line = take(&left, '\n');
        if (is(take(&line, ' '), "end"))
            match_end(line, name, found);
    }
}

/* The network's own name, from the line `network NAME`. */
static bool name_of(struct view table, char *name, size_t size) {
    struct words left = all(table);
    while (left.at < left.end) {
        struct words line = take(&left, '\n');
        if (is(take(&line, ' '), "network"))
            return copy(line, name, size);
    }
    return false;
}

static bool find_holder(struct view table, int family, const void *address, char *name,
                        size_t size) {
    struct words left = all(table);
    while (left.at < left.end) {
        struct words line = take(&left, '\n');
        if (!is(take(&line, ' '), "end"))
            continue;
        struct words addresses = take(&line, ' ');
        while (addresses.at < addresses.end) {
            char text[INET6_ADDRSTRLEN], binary[sizeof(struct in6_addr)];
            if (copy(take(&addresses, ','), text, sizeof text) &&
                inet_pton(family, text, binary) == 1 &&
                memcmp(binary, address, family == AF_INET ? 4 : 16) == 0)
                return copy(take(&line, ' '), name, size);
        }
    }
    return false;
}

/* ---- the resolver's file ---- */

/* A walk over the networks of the file: its lines `network PATH`, each followed by its links. */
struct walk {
    struct words left;
    struct view table;
    struct words links;
};

static bool next_network(struct walk *walk) {
    look_away(walk->table);
    walk->table = (struct view){NULL, 0, false};
    while (walk->left.at < walk->left.end) {
        struct words line = take(&walk->left, '\n');
        char path[PATH];
        if (!is(take(&line, ' '), "network") || !copy(line, path, sizeof path))
            continue;
        walk->links = walk->left;
        walk->table = look_at(path, TABLE);
        return true;
    }
    return false;
}

/* What a private name stands for in the network at hand: a line `link NAME TARGET`. */
static bool link_target(const struct walk *walk, const char *name, char *target, size_t size) {
    struct words left = walk->links;
    while (left.at < left.end) {
        struct words line = take(&left, '\n');
        struct words kind = take(&line, ' ');
        if (is(kind, "network"))
            return false;
        if (is(kind, "link") && is(take(&line, ' '), name))
            return copy(line, target, size);
    }
    return false;
}

/* The name as it is in this network: as it stands, or with the network's after a dot. */
static bool without_network(const struct walk *walk, const char *name, char *bare, size_t size) {
    char network[DNS_NAME];
    size_t length = strlen(name);
    if (!name_of(walk->table, network, sizeof network))
        return false;
    size_t own = strlen(network);
    if (length <= own + 1 || name[length - own - 1] != '.' ||
        strcasecmp(name + length - own, network) != 0)
        return false;
    return copy((struct words){name, name + length - own - 1}, bare, size);
}

static void find_here(const struct walk *walk, const char *name, bool private,
                      struct dns_found *found) {
    char target[DNS_NAME];
    if (!private)
        find_in_table(walk->table, name, found);
    else if (link_target(walk, name, target, sizeof target))
        find_in_table(walk->table, target, found);
}

static bool enough(const struct dns_found *found, uint16_t type) {
    if (type == DNS_A)
        return found->count4 > 0;
    if (type == DNS_AAAA)
        return found->count6 > 0;
    return found->known;
}

/* The first network that has what is asked for answers, private names going first; a name of one
 * network is looked for after the same name in all. */
void dns_find_name(const char *resolver, const char *name, uint16_t type,
                   struct dns_found *found) {
    struct view file = look_at(resolver, LIST);
    char bare[DNS_NAME];
    found->known = false;
    found->count4 = found->count6 = 0;
    for (int pass = 0; pass < 4 && !enough(found, type); pass++) {
        struct walk walk = {.left = all(file)};
        while (next_network(&walk)) {
            bool here = pass < 2 || without_network(&walk, name, bare, sizeof bare);
            if (here && !enough(found, type))
                find_here(&walk, pass < 2 ? name : bare, pass % 2 == 0, found);
        }
    }
    look_away(file);
}

bool dns_find_address(const char *resolver, int family, const void *address, char *name,
                      size_t size) {
    struct view file = look_at(resolver, LIST);
    struct walk walk = {.left = all(file)};
    char holder[DNS_NAME], network[DNS_NAME];
    bool found = false;
    while (next_network(&walk))
        if (!found && find_holder(walk.table, family, address, holder, sizeof holder) &&
            name_of(walk.table, network, sizeof network)) {
            found = true;
            snprintf(name, size, "%s.%s", holder, network);
        }
    look_away(file);
    return found;
}

/* An address with its interface after a `%`, if it needs one. */
static bool parse_server(const char *text, struct dns_server *server) {
    struct sockaddr_in *four = (struct sockaddr_in *)&server->address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&server->address;
    char bare[INET6_ADDRSTRLEN];
    const char *scope = strchrnul(text, '%');
    memset(&server->address, 0, sizeof server->address);
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(DNS_PORT);
        server->length = sizeof *four;
        return true;
    }
    if (!copy((struct words){text, scope}, bare, sizeof bare) ||
        inet_pton(AF_INET6, bare, &six->sin6_addr) != 1)
        return false;
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(DNS_PORT);
    six->sin6_scope_id = *scope ? if_nametoindex(scope + 1) : 0;
    server->length = sizeof *six;
    return true;
}

/* Lines `server host|own ADDRESS`. */
bool dns_find_server(const char *resolver, int number, struct dns_server *server) {
    struct view file = look_at(resolver, LIST);
    struct words left = all(file);
    bool found = false;
    while (!found && left.at < left.end) {
        struct words line = take(&left, '\n');
        char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
        if (!is(take(&line, ' '), "server"))
            continue;
        server->inside = is(take(&line, ' '), "own");
        found = copy(line, text, sizeof text) && parse_server(text, server) && number-- == 0;
    }
    look_away(file);
    return found;
}
