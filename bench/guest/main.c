/*
 * The suite's programs in one file: `suite NAME ROUNDS` prints a line before and a line after the work, which
 * the harness outside times by the host's clock; a guest's own clock may be virtual.
 *
 *   START NAME
 *   END NAME CHECKSUM
 *
 * `suite mark WORDS...` prints a line the same way, for scripts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "suite.h"

static const struct {
    const char *name;
    uint64_t (*run)(unsigned rounds);
} programs[] = {
    { "integer", run_integer }, { "qsort", run_qsort }, { "chase", run_chase }, { "memcpy", run_memcpy },
    { "nbody", run_nbody },     { "simd", run_simd },   { "getppid", run_getppid }, { "fork", run_fork },
    { "mmap", run_mmap },       { "pipe", run_pipe },
};

void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Prints what is in the buffer and waits until the serial port has sent it. */
static void send(void)
{
    putchar('\n');
    if (fflush(stdout) != 0)
        fail("writing");
    /* On the host, standard output is a pipe, which knows no draining. */
    (void)tcdrain(STDOUT_FILENO);
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "mark") == 0) {
        for (int word = 2; word < argc; word++)
            printf(word == 2 ? "%s" : " %s", argv[word]);
        send();
        return 0;
    }
    if (argc == 3) {
        unsigned rounds = (unsigned)strtoul(argv[2], NULL, 10);
        for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
            if (strcmp(programs[i].name, argv[1]) != 0)
                continue;
            printf("START %s", argv[1]);
            send();
            uint64_t checksum = programs[i].run(rounds);
            printf("END %s %016" PRIx64, argv[1], checksum);
            send();
            return 0;
        }
    }
    fprintf(stderr, "usage: suite NAME ROUNDS | suite mark WORDS...\n");
    return 2;
}
