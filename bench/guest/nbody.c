/* Bodies that attract each other, in doubles: scalar multiplications, divisions and square roots. */
#include <math.h>
#include <string.h>

#include "suite.h"

#define BODIES 5

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static void advance(struct body *bodies, double dt)
{
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        for (int j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz + 0.01;
            double pull = dt / (square * sqrt(square));
            a->vx -= dx * b->mass * pull;
            a->vy -= dy * b->mass * pull;
            a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull;
            b->vy += dy * a->mass * pull;
            b->vz += dz * a->mass * pull;
        }
    }
    for (int i = 0; i < BODIES; i++) {
        bodies[i].x += dt * bodies[i].vx;
        bodies[i].y += dt * bodies[i].vy;
        bodies[i].z += dt * bodies[i].vz;
    }
}

uint64_t run_nbody(unsigned rounds)
{
    struct body bodies[BODIES];
    uint64_t state = 1, checksum = 0;
    for (int i = 0; i < BODIES; i++) {
        double *fields = &bodies[i].x;
        for (int field = 0; field < 7; field++)
            fields[field] = (double)(next_number(&state) >> 40) / (double)(1 << 24);
    }
    for (unsigned round = 0; round < rounds; round++)
        for (int step = 0; step < 10000; step++)
            advance(bodies, 0.0001);
    for (int i = 0; i < BODIES; i++) {
        uint64_t bits;
        memcpy(&bits, &bodies[i].x, sizeof bits);
        checksum = mix(checksum, bits);
    }
    return checksum;
}
