// A file system in user space with one file, `program`. While a file named HANG exists, no question about the attributes of that
// file is answered: whoever asks waits without end.
//
// argv: PROGRAM MOUNTPOINT HANG
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int device;
static char *content;
static long size;

static void answer(__u64 unique, int error, const void *body, size_t length) {
    struct fuse_out_header head = {.len = sizeof head + (error ? 0 : length), .error = -error, .unique = unique};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, error ? 0 : length}};
    if (writev(device, parts, 2) < 0 && errno != ENOENT) perror("answer");
}

static struct fuse_attr attributes(__u64 node) {
    struct fuse_attr out = {.ino = node, .nlink = 1, .blksize = 4096};
    out.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0755;
    out.size = node == FUSE_ROOT_ID ? 0 : size;
    return out;
}

static void serve(const struct fuse_in_header *in, const char *body, const char *hang) {
    if (in->opcode == FUSE_INIT) {
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 65536, .max_background = 1000};
        answer(in->unique, 0, &out, sizeof out);
    } else if (in->opcode == FUSE_LOOKUP) {
        struct fuse_entry_out out = {.nodeid = 2, .attr = attributes(2)};
        answer(in->unique, strcmp(body, "program") ? ENOENT : 0, &out, sizeof out);
    } else if (in->opcode == FUSE_GETATTR) {
        if (in->nodeid == 2 && !access(hang, F_OK)) return;
        struct fuse_attr_out out = {.attr = attributes(in->nodeid)};
        answer(in->unique, 0, &out, sizeof out);
    } else if (in->opcode == FUSE_OPEN || in->opcode == FUSE_OPENDIR) {
        struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};
        answer(in->unique, 0, &out, sizeof out);
    } else if (in->opcode == FUSE_READ) {
        const struct fuse_read_in *read = (const void *)body;
        long left = size - (long)read->offset, length = left < 0 ? 0 : left < (long)read->size ? left : (long)read->size;
        answer(in->unique, 0, content + read->offset, length);
    } else if (in->opcode == FUSE_RELEASE || in->opcode == FUSE_FLUSH || in->opcode == FUSE_RELEASEDIR) {
        answer(in->unique, 0, 0, 0);
    } else if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET && in->opcode != FUSE_INTERRUPT) {
        answer(in->unique, ENOSYS, 0, 0);
    }
}

int main(int count, char **arguments) {
    if (count < 4) return 2;
    FILE *program = fopen(arguments[1], "r");
    if (!program || fseek(program, 0, SEEK_END)) return 2;
    size = ftell(program);
    rewind(program);
    content = malloc(size);
    if (fread(content, 1, size, program) != (size_t)size) return 2;
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[80];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    if (device < 0 || mount("hanging", arguments[2], "fuse", 0, options)) {
        printf("impossible: %s\n", strerror(errno));
        return 1;
    }
    puts("ready mounted");
    fflush(stdout);
    static char request[1 << 18];
    for (;;) {
        ssize_t length = read(device, request, sizeof request);
        if (length < 0 && errno == ENODEV) return 0;
        if (length < (ssize_t)sizeof(struct fuse_in_header)) continue;
        serve((const void *)request, request + sizeof(struct fuse_in_header), arguments[3]);
    }
}
