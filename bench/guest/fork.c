/* Making processes and waiting for their ends. */
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

uint64_t run_fork(unsigned rounds)
{
    uint64_t checksum = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (int child = 0; child < 100; child++) {
            pid_t pid = fork();
            if (pid < 0)
                fail("fork");
            if (pid == 0)
                _exit((int)((round + (unsigned)child) & 127));
            int status;
            if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
                fail("waitpid");
            checksum = mix(checksum, (uint64_t)WEXITSTATUS(status));
        }
    }
    return checksum;
}
