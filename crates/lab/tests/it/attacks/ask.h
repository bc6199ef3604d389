// Asks for X.509-SVIDs over a connection to the agent: one HTTP/2 request, written by hand.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int open_socket(int flags, int patience_seconds) {
    int s = socket(AF_UNIX, SOCK_STREAM | flags, 0);
    struct timeval patience = {patience_seconds, 0};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return s;
}

static int dial(int s, const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    return connect(s, (struct sockaddr *)&to, sizeof to);
}

static void put_frame(unsigned char *out, int *at, int kind, int flags, int stream, const void *body, int length) {
    unsigned char head[9] = {length >> 16, length >> 8, length, kind, flags, 0, 0, 0, stream};
    memcpy(out + *at, head, 9);
    memcpy(out + *at + 9, body, length);
    *at += 9 + length;
}

static void put_field(unsigned char *out, int *at, const char *name, const char *value) {
    out[(*at)++] = 0;
    out[(*at)++] = strlen(name);
    memcpy(out + *at, name, strlen(name));
    *at += strlen(name);
    out[(*at)++] = strlen(value);
    memcpy(out + *at, value, strlen(value));
    *at += strlen(value);
}

static void send_question(int s) {
    unsigned char out[1024], fields[512];
    int length = 24, at = 0;
    memcpy(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(out, &length, 4, 0, 0, "", 0);
    put_field(fields, &at, ":method", "POST");
    put_field(fields, &at, ":scheme", "http");
    put_field(fields, &at, ":path", "/SpiffeWorkloadAPI/FetchX509SVID");
    put_field(fields, &at, ":authority", "localhost");
    put_field(fields, &at, "content-type", "application/grpc");
    put_field(fields, &at, "te", "trailers");
    put_field(fields, &at, "workload.spiffe.io", "true");
    put_frame(out, &length, 1, 4, 1, fields, at);
    put_frame(out, &length, 0, 1, 1, "\0\0\0\0\0", 5);
    if (write(s, out, length) != length) perror("write");
}

// Whether the answer has ended: a HEADERS frame with END_STREAM, or RST_STREAM, on stream 1. A refusal is nothing else.
static int has_ended(const unsigned char *got, int length) {
    for (int at = 0; at + 9 <= length;) {
        int ends = got[at + 3] == 3 || (got[at + 3] == 1 && (got[at + 4] & 1));
        if (ends && got[at + 8] == 1) return 1;
        at += 9 + (got[at] << 16 | got[at + 1] << 8 | got[at + 2]);
    }
    return 0;
}

// Prints what came: an identity, or that it was refused, or nothing came in time.
__attribute__((unused)) static int read_answer(int s) {
    static char got[32768];
    int length = 0;
    while (length < (int)sizeof got) {
        int more = recv(s, got + length, sizeof got - length, 0);
        if (more <= 0) break;
        length += more;
        char *id = memmem(got, length, "spiffe://", 9);
        if (id) {
            int end = 0;
            while (end < 60 && id + end < got + length && id[end] > ' ' && id[end] < 127) end++;
            dprintf(1, "got %.*s\n", end, id);
            return 1;
        }
        if (has_ended((unsigned char *)got, length)) break;
    }
    dprintf(1, "refused\n");
    return 0;
}
