/* logmel_kernel.h for 4, 8 or 16 frames at once. logmel_init.c includes this file once per instruction set and defines
 *   NAME, TARGET, vec, ivec   as for logmel_kernel.h
 *   GATHER(p, s)       4 consecutive floats from each of p, p + 4 s, p + 8 s, ...: a quarter (4 lanes) each
 *   SCATTER(p, s, v, n)  the inverse: a quarter each to p, p + 4 s, ... as long as 0, 4, ... is below n
 *   LO32, HI32, LO64, HI64(a, b)  interleave the lower or upper halves of each quarter, by one or two floats
 */
#define AS_INT(v) ((ivec)(v))
#define AS_FLOAT(v) ((vec)(v))
#define TO_FLOAT(v) __builtin_convertvector(v, vec)
#define AT_LEAST(v, c) \
    ((vec)(((ivec)(v) & (ivec)((v) > (c))) | ((ivec)((vec){0} + (c)) & ~(ivec)((v) > (c)))))

/* Transpose v [4][quarters][4] within each quarter: swap lane 4 b + i of v[j] and lane 4 b + j of v[i]. */
TARGET static inline void NAME(turn)(vec *v) {
    const vec a = LO32(v[0], v[1]), b = HI32(v[0], v[1]), c = LO32(v[2], v[3]), d = HI32(v[2], v[3]);
    v[0] = LO64(a, c);
    v[1] = HI64(a, c);
    v[2] = LO64(b, d);
    v[3] = HI64(b, d);
}

TARGET static inline void NAME(load)(const ser_geometry *g, const float *samples, vec *even, vec *odd) {
    int j, k;
    for (j = 0; j < g->n_fft / 2; j += 2) {
        const float *at = samples + 2 * j, *w = g->window + 2 * j;
        vec v[4]; /* v[i], quarter b: 4 samples of frame 4 b + i; transposed, v[i] is sample i of every frame */
        for (k = 0; k < 4; k++) v[k] = GATHER(at + k * g->hop, g->hop);
        NAME(turn)(v);
        even[j] = v[0] * w[0];
        odd[j] = v[1] * w[1];
        even[j + 1] = v[2] * w[2];
        odd[j + 1] = v[3] * w[3];
    }
}

TARGET static inline void NAME(store)(const ser_geometry *g, const vec *db, int count, float *out) {
    int m, k;
    for (m = 0; m < g->n_mels; m += 4) {
        const int at = m + 4 <= g->n_mels ? m : g->n_mels - 4; /* the last four may overlap the previous ones */
        vec v[4];
        for (k = 0; k < 4; k++) v[k] = db[at + k];
        NAME(turn)(v);
        for (k = 0; k < 4; k++) SCATTER(out + k * g->n_mels + at, g->n_mels, v[k], count - k);
    }
}

#include "logmel_kernel.h"

/* Undefine the other parameters, so that this file can be included again. */
#undef GATHER
#undef SCATTER
#undef LO32
#undef HI32
#undef LO64
#undef HI64
