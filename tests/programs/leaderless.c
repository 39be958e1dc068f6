/* leaderless: its first thread ends and another lives on, so /proc shows state Z and no argv for a living process.
   TERM ends it. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char leader_state(void) {
    char line[512], path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", getpid());
    FILE *file = fopen(path, "r");
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = 0;
    return strrchr(line, ')')[2];
}

static void *live_on(void *unused) {
    while (leader_state() != 'Z') sched_yield();
    printf("ready (pid: %d)\n", getpid());
    fflush(stdout);
    for (;;) pause();
    return unused;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live_on, NULL) != 0) return 1;
    pthread_exit(NULL);
}
