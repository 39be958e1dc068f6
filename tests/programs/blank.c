// blank: overwrites its arguments and its environment with nothing, as setproctitle(3) leaves them at worst.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    char *end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
    for (char **variable = environ; *variable; variable++) end = *variable + strlen(*variable) + 1;
    char *begin = argv[0];
    environ = NULL;
    memset(begin, 0, (size_t)(end - begin));
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
