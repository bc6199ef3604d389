// The attested program: it asks for its own identity; with `wait` it only runs; with `adopt N` it takes a descriptor that it was
// started with for its own, as sd_listen_fds(3) does.
#include "ask.h"

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "wait")) {
        sleep(5);
        return 0;
    }
    if (count > 2 && !strcmp(arguments[1], "adopt")) {
        fcntl(atoi(arguments[2]), F_SETFD, FD_CLOEXEC);
        sleep(5);
        return 0;
    }
    int s = open_socket(SOCK_CLOEXEC, 20);
    if (dial(s, getenv("SOCKET"))) return 1;
    send_question(s);
    return !read_answer(s);
}
