/* Integer arithmetic in registers: no memory, one well-predicted branch. */
#include "suite.h"

uint64_t run_integer(unsigned rounds)
{
    uint64_t a = 1, b = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < 1000000; i++) {
            a = a * 6364136223846793005u + i;
            b += (a >> 33) ^ (b << 3);
            b ^= a >> (i & 31);
        }
    }
    return mix(a, b);
}
