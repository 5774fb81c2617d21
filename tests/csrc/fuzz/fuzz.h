/* What the fuzz targets share: reading the fuzzer's bytes, failing, memory that a sanitizer sees the ends of.
 *
 * A target looks for more than crashes: it knows what each call has to answer, and computes the same in another way.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(yes) \
    do { \
        if (!(yes)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #yes); \
            abort(); \
        } \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

/* The next byte; 0 at the end. */
static inline unsigned take(input *in) {
    if (!in->left) return 0;
    in->left--;
    return *in->at++;
}

static inline uint32_t take_u32(input *in) {
    uint32_t x = take(in);
    x |= take(in) << 8;
    x |= take(in) << 16;
    return x | (uint32_t)take(in) << 24;
}

/* Any float at all. */
static inline float take_float(input *in) {
    const uint32_t bits = take_u32(in);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A copy [bytes] that begins at a multiple of 64 and ends where an allocation ends; data may be NULL. */
static inline void *apart(const void *data, size_t bytes) {
    void *copy = NULL;
    CHECK(posix_memalign(&copy, 64, bytes ? bytes : 1) == 0);
    if (data && bytes) memcpy(copy, data, bytes);
    return copy;
}

/* Noise of the level 2^(level - 200), level 0 to 255, from the 16 bits of a seed: [n], the caller frees it. */
static inline float *noise(size_t n, unsigned level, unsigned seed) {
    float *x = apart(NULL, n * sizeof *x);
    uint64_t state = seed;
    size_t i;
    for (i = 0; i < n; i++) {
        state = (state * 1664525 + 1013904223) & 0xffffffffu;
        x[i] = (float)ldexp((double)(state >> 8) / 8388608 - 1, (int)level - 200);
    }
    return x;
}

/* 1 if a push of them must be accepted. */
static inline int usable(const float *x, size_t n) {
    for (; n; n--, x++)
        if (!(fabs((double)*x) <= (double)1e12f)) return 0;
    return 1;
}

/* A push of the fuzzer's: floats of any kind, or noise. *n of them, the caller frees them. */
static inline float *take_samples(input *in, size_t *n) {
    const unsigned kind = take(in);
    size_t i;
    float *x;
    if (kind < 64) {
        *n = kind;
        x = apart(NULL, *n * sizeof *x);
        for (i = 0; i < *n; i++) x[i] = take_float(in);
    } else {
        const unsigned level = take(in), seed = take(in);
        *n = (size_t)(kind - 64) * (1 + seed % 4);
        x = noise(*n, level, seed);
    }
    return x;
}

/* One of the instruction sets that are there. */
static inline ser_isa take_isa(input *in) {
    const ser_isa isa = (ser_isa)(1 + take(in) % 4);
    return ser_isa_available(isa) ? isa : SER_ISA_PLAIN;
}

#ifdef CONTAINERS /* the folder that containers.py has written */
enum { KINDS = 4 };

/* One of the containers of containers.py: [*bytes]. */
static inline const unsigned char *container_of(unsigned kind, size_t *bytes) {
    static const char *const names[KINDS] = {"float", "float-classes", "int8", "int8-classes"};
    static unsigned char *loaded[KINDS];
    static size_t sizes[KINDS];
    if (!loaded[kind]) {
        char path[1024];
        FILE *file;
        snprintf(path, sizeof path, "%s/%s.weights", CONTAINERS, names[kind]);
        file = fopen(path, "rb");
        CHECK(file && fseek(file, 0, SEEK_END) == 0);
        sizes[kind] = (size_t)ftell(file);
        loaded[kind] = apart(NULL, sizes[kind]);
        rewind(file);
        CHECK(fread(loaded[kind], 1, sizes[kind], file) == sizes[kind]);
        fclose(file);
    }
    *bytes = sizes[kind];
    return loaded[kind];
}
#endif
#endif
