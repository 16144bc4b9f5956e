/* The C library's qsort over 200,000 numbers: calls through a pointer, unpredictable branches. */
#include <stdlib.h>

#include "suite.h"

#define COUNT 200000

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

uint64_t run_qsort(unsigned rounds)
{
    static uint32_t numbers[COUNT];
    uint64_t state = 1, checksum = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < COUNT; i++)
            numbers[i] = (uint32_t)next_number(&state);
        qsort(numbers, COUNT, sizeof *numbers, compare);
        for (unsigned i = 0; i < COUNT; i += 1000)
            checksum = mix(checksum, numbers[i]);
    }
    return checksum;
}
