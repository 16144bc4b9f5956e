/*
 * What the programs of the suite share. Each does a fixed amount of work, `rounds` times over, and returns
 * a checksum of what it computed, so that a wrong result is seen and no compiler can leave the work out.
 */
#ifndef SUITE_H
#define SUITE_H

#include <stdint.h>

uint64_t run_integer(unsigned rounds);
uint64_t run_qsort(unsigned rounds);
uint64_t run_chase(unsigned rounds);
uint64_t run_memcpy(unsigned rounds);
uint64_t run_nbody(unsigned rounds);
uint64_t run_simd(unsigned rounds);
uint64_t run_getppid(unsigned rounds);
uint64_t run_fork(unsigned rounds);
uint64_t run_mmap(unsigned rounds);
uint64_t run_pipe(unsigned rounds);

/* The next of a fixed sequence of numbers (xorshift64*). The state must not be zero. */
static inline uint64_t next_number(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* Takes `value` into a checksum. */
static inline uint64_t mix(uint64_t checksum, uint64_t value)
{
    checksum = (checksum ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return checksum ^ (checksum >> 29);
}

/* Ends the program with a message: a failed system call makes the whole figure void. */
void fail(const char *what) __attribute__((noreturn));

#endif
