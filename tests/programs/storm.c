/* storm CHAINS MICROSECONDS BOUND: a main process that forks a child every MICROSECONDS, which ends as soon, and CHAINS
 * processes in sessions of their own, each of which forks its successor every MICROSECONDS and ends. After BOUND forks
 * in all nobody forks any more, and whoever lives then lives on. A dot on stdout for each fork. TERM ends each of them.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int *left;

/* Forks where that is still allowed: 0 in the child, -1 where it is not. */
static int fork_within_bound(void) {
    return atomic_fetch_sub(left, 1) > 0 && write(1, ".", 1) == 1 ? fork() : -1;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int chains = atoi(argv[1]);
    useconds_t pause_for = atoi(argv[2]);
    left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *left = atoi(argv[3]);
    signal(SIGCHLD, SIG_IGN);
    for (int number = 0; number < chains; number++)
        if (fork_within_bound() == 0) {
            setsid();
            for (;;) {
                usleep(pause_for);
                if (fork_within_bound() > 0)
                    _exit(0);
            }
        }
    printf("ready (pid: %d)\n", getpid());
    fflush(stdout);
    for (;;) {
        usleep(pause_for);
        if (fork_within_bound() == 0) {
            usleep(pause_for);
            _exit(0);
        }
    }
}
