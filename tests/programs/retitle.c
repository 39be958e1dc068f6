// retitle [TITLE]: overwrites its own argv area with TITLE, as setproctitle(3) does, and its comm. TERM ends it.
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char title[256] = "worker: ) S 1 (idle";
    if (argc > 1) snprintf(title, sizeof title, "%s", argv[1]);
    char *end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
    size_t room = (size_t)(end - argv[0]);
    memset(argv[0], 0, room);
    // The last byte stays zero: a non-zero one makes the kernel read on into the environment.
    memcpy(argv[0], title, strlen(title) < room - 1 ? strlen(title) : room - 1);
    prctl(PR_SET_NAME, title);
    printf("ready (pid: %d)\n", (int)getpid());
    fflush(stdout);
    for (;;) pause();
}
