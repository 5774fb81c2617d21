/* What the contract's test programs share: a check that says what failed, buffers of exact size, noise. */
#ifndef SER_CONTRACT_H
#define SER_CONTRACT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(yes) \
    do { \
        if (!(yes)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #yes); \
            exit(1); \
        } \
    } while (0)

enum { CANARY = 0xa5, GUARD = 128 };

static inline void *allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return memory;
}

/* Noise in [-0.5, 0.5): [n], the caller frees it. */
static inline float *noise(size_t n, uint32_t seed) {
    float *x = allocate(n * sizeof *x);
    size_t i;
    for (i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / 16777216.0f - 0.5f;
    }
    return x;
}

static inline int all_canaries(const unsigned char *bytes, size_t n) {
    size_t i;
    for (i = 0; i < n; i++)
        if (bytes[i] != CANARY) return 0;
    return 1;
}

#endif
