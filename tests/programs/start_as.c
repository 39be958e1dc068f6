/* start_as PID SESSION PROGRAM [ARG...]: its parent gets a child with exactly this pid, which executes the program, in a
   session of its own where SESSION is 1. Ends with the errno of clone3(2), or 0. */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 4) return EINVAL;
    pid_t pid = atoi(argv[1]);
    struct clone_args args = {.flags = CLONE_PARENT, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (child < 0) return errno;
    if (child > 0) return 0;
    if (argv[2][0] == '1') setsid();
    execv(argv[3], argv + 3);
    return 127;
}
