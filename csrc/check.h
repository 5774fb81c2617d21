/* Sample validation: reject values that cannot be squared and summed. */
#ifndef SER_CHECK_H
#define SER_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* samples: [n]. Return 1 if all are finite and within +-1e12, else 0. Compares bit patterns, in which NaN and infinity
 * are the largest. */
static inline int ser_all_usable(const float *samples, size_t n) {
    const float limit = 1e12f;
    uint32_t limit_bits, bad = 0;
    size_t i;
    memcpy(&limit_bits, &limit, sizeof limit_bits);
    for (i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &samples[i], sizeof bits);
        bad |= (uint32_t)((bits & 0x7fffffffu) > limit_bits);
    }
    return !bad;
}

#endif
