/* The C library's memcpy of 8 MB, whichever of its variants the CPU calls for. */
#include <string.h>

#include "suite.h"

#define BYTES (8u << 20)

uint64_t run_memcpy(unsigned rounds)
{
    static unsigned char from[BYTES], to[BYTES];
    uint64_t state = 1, checksum = 0;
    for (unsigned i = 0; i < BYTES; i += 8) {
        uint64_t number = next_number(&state);
        memcpy(from + i, &number, sizeof number);
    }
    for (unsigned round = 0; round < rounds; round++) {
        from[round % BYTES]++;
        memcpy(to, from, BYTES);
        checksum = mix(checksum, to[(round * 4099u) % BYTES]);
    }
    return checksum;
}
