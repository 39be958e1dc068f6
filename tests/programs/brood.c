/* brood CHILDREN: like its children, it ignores TERM and HUP. A child's pid is free as soon as that child has ended. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    for (int left = argc > 1 ? atoi(argv[1]) : 0; left > 0; left--)
        if (fork() == 0)
            for (;;) pause();
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
