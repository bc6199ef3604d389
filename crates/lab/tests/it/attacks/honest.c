// The attested program: it asks for its own identity; with `wait` it only runs.
#include "ask.h"

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "wait")) {
        sleep(5);
        return 0;
    }
    int s = open_socket(SOCK_CLOEXEC, 20);
    if (dial(s, getenv("SOCKET"))) return 1;
    send_question(s);
    return !read_answer(s);
}
