/* Two processes that wake each other over a pair of pipes. Both stay on one CPU, as in a guest that has only one. */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define TURNS 1000

static unsigned char take(int from)
{
    unsigned char byte;
    if (read(from, &byte, 1) != 1)
        fail("reading from a pipe");
    return byte;
}

static void give(int to, unsigned char byte)
{
    if (write(to, &byte, 1) != 1)
        fail("writing to a pipe");
}

uint64_t run_pipe(unsigned rounds)
{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    if (sched_setaffinity(0, sizeof here, &here) != 0)
        fail("sched_setaffinity");
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0)
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    uint64_t turns = (uint64_t)rounds * TURNS;
    if (pid == 0) {
        for (uint64_t turn = 0; turn < turns; turn++)
            give(back[1], (unsigned char)(take(there[0]) * 5 + 1));
        _exit(0);
    }
    uint64_t checksum = 0;
    unsigned char byte = 1;
    for (uint64_t turn = 0; turn < turns; turn++) {
        give(there[1], byte);
        byte = take(back[0]);
        checksum = mix(checksum, byte);
    }
    if (waitpid(pid, 0, 0) != pid)
        fail("waitpid");
    return checksum;
}
