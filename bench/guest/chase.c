/* One load after the other, each telling where the next is, all over 16 MB. */
#include "suite.h"

#define COUNT (1u << 21)

uint64_t run_chase(unsigned rounds)
{
    static uint64_t next[COUNT];
    uint64_t state = 1;
    /* Sattolo's algorithm: a permutation that is one single cycle. */
    for (uint32_t i = 0; i < COUNT; i++)
        next[i] = i;
    for (uint32_t i = COUNT - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(next_number(&state) % i);
        uint64_t kept = next[i];
        next[i] = next[j];
        next[j] = kept;
    }
    uint64_t at = 0, checksum = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned step = 0; step < 100000; step++)
            at = next[at];
        checksum = mix(checksum, at);
    }
    return checksum;
}
