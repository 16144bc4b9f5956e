/* The cheapest system call there is. */
#include <sys/syscall.h>
#include <unistd.h>

#include "suite.h"

uint64_t run_getppid(unsigned rounds)
{
    uint64_t checksum = 0;
    long parent = getppid();
    for (unsigned round = 0; round < rounds; round++)
        for (int call = 0; call < 10000; call++)
            checksum += (uint64_t)(syscall(SYS_getppid) == parent);
    return mix(0, checksum);
}
