/* Page faults: 1 MB mapped, each page touched, and unmapped again. */
#include <sys/mman.h>

#include "suite.h"

#define PAGE 4096
#define BYTES (256u * PAGE)

uint64_t run_mmap(unsigned rounds)
{
    uint64_t checksum = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (int time = 0; time < 10; time++) {
            unsigned char *area = mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (area == MAP_FAILED)
                fail("mmap");
            for (unsigned at = 0; at < BYTES; at += PAGE)
                area[at] = (unsigned char)(area[at] + at / PAGE + round);
            checksum = mix(checksum, area[PAGE * (round % 256u)]);
            if (munmap(area, BYTES) != 0)
                fail("munmap");
        }
    }
    return checksum;
}
