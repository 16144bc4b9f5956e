/* Four floats at a time over two arrays that stay in the first-level cache. */
#include <string.h>

#include "suite.h"

typedef float four __attribute__((vector_size(16)));

#define VECTORS 512

uint64_t run_simd(unsigned rounds)
{
    static four a[VECTORS], b[VECTORS];
    const four shrink = { 0.999f, 0.998f, 0.997f, 0.996f };
    for (int i = 0; i < VECTORS; i++) {
        a[i] = (four){ (float)i, (float)(i + 1), (float)(i + 2), (float)(i + 3) };
        b[i] = (four){ 1.0f, 0.5f, 0.25f, 0.125f };
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (int pass = 0; pass < 1000; pass++) {
            for (int i = 0; i < VECTORS; i++)
                a[i] = a[i] * shrink + b[i];
            /* Each pass is work of its own: the compiler must not fuse them. */
            __asm__ volatile("" ::: "memory");
        }
    }
    uint64_t checksum = 0;
    for (int i = 0; i < VECTORS; i++) {
        uint64_t bits[2];
        memcpy(bits, &a[i], sizeof bits);
        checksum = mix(mix(checksum, bits[0]), bits[1]);
    }
    return checksum;
}
