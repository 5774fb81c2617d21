/* Reinterpret the bits of a float as an integer, and back. */
#ifndef SER_BITS_H
#define SER_BITS_H

#include <stdint.h>
#include <string.h>

static inline int32_t int_of(float x) {
    int32_t i;
    memcpy(&i, &x, sizeof i);
    return i;
}

static inline float float_of(int32_t i) {
    float x;
    memcpy(&x, &i, sizeof x);
    return x;
}

#endif
