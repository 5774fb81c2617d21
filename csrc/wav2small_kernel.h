/* Wav2Small's layers in float32, LANES channels at once. wav2small_vector.c includes this file once per instruction set
 * and defines
 *   NAME(x)  x with the instruction set's suffix        TARGET  function attribute that allows its instructions
 *   LANES    floats per vec                             vec, ivec  LANES floats or int32_t
 *   LOAD(p), STORE(p, v)  aligned; LOAD_ANY(p) unaligned  SPLAT(x)  x in every lane
 *   FMA(a, b, c)  a b + c                               LARGER(a, b)  the lane-wise maximum
 *   ROWS, PAIRS  tokens and pairs of mel rows at once, so that 2 ROWS + 3 and 4 PAIRS + 2 vecs fit into the registers
 * and, for wav2small_madd.h, NAME(shorts), LANES int16_t; NAME(wide), twice as many; NAME(sums), LANES uint32_t; SMALLER(a, b), the lane-wise minimum; LOAD_INT(p), aligned;
 * MADD(a, b), the sums of each two adjacent products of int16_t a and b.
 *
 * A cell has 16 channels, of which 13 are used; the others stay 0. The 3x3 convolutions use Winograd's algorithm (Lavin
 * and Gray, arXiv 1509.09308): F(4, 3) over time and F(2, 3) over mel rows, 24 products instead of 72.
 */

/* ser_exp in every lane. */
TARGET static inline vec NAME(exp)(vec x) {
    ivec n;
    vec whole, r;
    x = LARGER(x, SPLAT(-87.0f));
    n = __builtin_convertvector(x * SPLAT(1.44269504f) - SPLAT(0.5f), ivec);
    whole = __builtin_convertvector(n, vec);
    r = x - whole * SPLAT(0.693359375f) + whole * SPLAT(2.12194440e-4f);
    return (vec)((n + 127) << 23) *
           ((((((SPLAT(1.0f / 720) * r + SPLAT(1.0f / 120)) * r + SPLAT(1.0f / 24)) * r + SPLAT(1.0f / 6)) * r +
              SPLAT(0.5f)) * r + SPLAT(1.0f)) * r + SPLAT(1.0f));
}

TARGET static void NAME(first)(const ser_network *n, const void *packed, const float *const *in, void *const *out) {
    const packed_weights *w = packed;
    int row, half, h, tap, m;
    (void)n;
    for (row = 0; row < GROUP; row++)
        for (half = 0; half < 2; half++)
            for (h = 0; h < CELL; h += LANES) {
                float *y = (float *)out[row] + CELL * (1 + 13 * half) + h;
                vec sum[13];
                UNROLL for (m = 0; m < 13; m++) sum[m] = LOAD(w->first_bias + h);
                for (tap = 0; tap < 9; tap++) {
                    const float *x = in[row + tap / 3] + 13 * half + tap % 3;
                    const vec v = LOAD(w->first[tap] + h);
                    UNROLL for (m = 0; m < 13; m++) sum[m] = FMA(v, SPLAT(x[m]), sum[m]);
                }
                UNROLL for (m = 0; m < 13; m++) STORE(y + CELL * m, LARGER(sum[m], SPLAT(0)));
            }
}

/* Compute two of the six combinations of F(4, 3) of the cells at in[0 .. 5] + at: numbers 0 and 5 if two is 0, 1 and 2
 * if it is 1, 3 and 4 if it is 2. */
TARGET static inline __attribute__((always_inline)) void NAME(over_time)(const float *const *in, size_t at, int two,
                                                                         vec *p, vec *q) {
    const vec x1 = LOAD(in[1] + at), x2 = LOAD(in[2] + at), x3 = LOAD(in[3] + at), x4 = LOAD(in[4] + at);
    if (two == 0) {
        *p = FMA(SPLAT(4), LOAD(in[0] + at), FMA(SPLAT(-5), x2, x4));
        *q = FMA(SPLAT(4), x1, FMA(SPLAT(-5), x3, LOAD(in[5] + at)));
    } else if (two == 1) {
        const vec even = FMA(SPLAT(-4), x2, x4), odd = FMA(SPLAT(-4), x1, x3);
        *p = even + odd;
        *q = even - odd;
    } else {
        const vec near = x4 - x2, far = x3 - x1;
        *p = FMA(SPLAT(2), far, near);
        *q = FMA(SPLAT(-2), far, near);
    }
}

/* Multiply `count` pairs of mel rows at four positions and apply the output transform of F(2, 3). v: [4][pairs][CELL],
 * w: [4][13 in][CELL], y: [2 count][CELL]. */
TARGET static inline __attribute__((always_inline)) void NAME(products)(const float *v, const float *w, float *y,
                                                                        int pairs, int count) {
    vec sum[4][PAIRS];
    int k, p, g;
    UNROLL for (p = 0; p < 4; p++) UNROLL for (g = 0; g < count; g++) sum[p][g] = SPLAT(0);
    for (k = 0; k < SER_CHANNELS; k++)
        UNROLL for (p = 0; p < 4; p++) {
            const vec weight = LOAD(w + CELL * (SER_CHANNELS * p + k));
            UNROLL for (g = 0; g < count; g++)
                sum[p][g] = FMA(weight, SPLAT(v[CELL * (pairs * p + g) + k]), sum[p][g]);
        }
    UNROLL for (g = 0; g < count; g++) {
        STORE(y + CELL * 2 * g, sum[0][g] + (sum[1][g] + sum[2][g]));
        STORE(y + CELL * (2 * g + 1), (sum[1][g] - sum[2][g]) - sum[3][g]);
    }
}

/* Compute the products of two of the six combinations over time. v: [2 time][4 mel][pairs][CELL],
 * y: [2 time][2 pairs][CELL]. */
TARGET static inline __attribute__((always_inline)) void NAME(two_times)(const float *const *in, int two,
                                                                         const float *w, float *v, float *y,
                                                                         int pairs) {
    float *const v2 = v + 4 * pairs * CELL;
    int h, i, g;
    for (h = 0; h < CELL; h += LANES) {
        vec a, b, c, d, a2, b2, c2, d2;
        NAME(over_time)(in, (size_t)h, two, &a, &a2);
        NAME(over_time)(in, (size_t)(CELL + h), two, &b, &b2);
        for (g = 0; g < pairs; g++) {
            const size_t at = (size_t)(CELL * g + h), next = (size_t)(pairs * CELL);
            NAME(over_time)(in, (size_t)(CELL * (2 * g + 2) + h), two, &c, &c2);
            NAME(over_time)(in, (size_t)(CELL * (2 * g + 3) + h), two, &d, &d2);
            STORE(v + at, a - c);
            STORE(v + at + next, b + c);
            STORE(v + at + 2 * next, c - b);
            STORE(v + at + 3 * next, b - d);
            STORE(v2 + at, a2 - c2);
            STORE(v2 + at + next, b2 + c2);
            STORE(v2 + at + 2 * next, c2 - b2);
            STORE(v2 + at + 3 * next, b2 - d2);
            a = c, b = d, a2 = c2, b2 = d2;
        }
    }
    for (i = 0; i < 2; i++, v += 4 * pairs * CELL, w += 4 * SER_CHANNELS * CELL, y += 2 * pairs * CELL)
        for (h = 0; h < CELL; h += LANES) {
            for (g = 0; g + PAIRS <= pairs; g += PAIRS)
                NAME(products)(v + CELL * g, w + h, y + CELL * 2 * g + h, pairs, PAIRS);
            if (pairs % PAIRS) NAME(products)(v + CELL * g, w + h, y + CELL * 2 * g + h, pairs, pairs % PAIRS);
        }
}

/* pairs: number of pairs of mel rows. work: v of two_times, then y of its three calls. */
TARGET static inline __attribute__((always_inline)) void NAME(winograd)(const float *w, const float *bias, float *work,
                                                                        int mels, int pairs, const float *const *in,
                                                                        float *const *out) {
    float *y = work + 8 * pairs * CELL;
    const size_t row = (size_t)(2 * CELL * pairs);
    int h, m;
    NAME(two_times)(in, 0, w, work, y, pairs);
    NAME(two_times)(in, 1, w + 8 * SER_CHANNELS * CELL, work, y + 2 * row, pairs);
    NAME(two_times)(in, 2, w + 16 * SER_CHANNELS * CELL, work, y + 4 * row, pairs);
    for (m = 0; m < mels; m++)
        for (h = 0; h < CELL; h += LANES) {
            const float *at = y + CELL * m + h;
            const size_t to = (size_t)(CELL * (1 + m) + h);
            const vec y0 = LOAD(at), y5 = LOAD(at + row), y1 = LOAD(at + 2 * row), y2 = LOAD(at + 3 * row),
                      y3 = LOAD(at + 4 * row), y4 = LOAD(at + 5 * row), b = LOAD(bias + h);
            const vec s1 = y1 + y2, d1 = (y1 - y2) + b, s2 = y3 + y4, d2 = y3 - y4;
            STORE(out[0] + to, LARGER((y0 + b) + s1 + s2, SPLAT(0)));
            STORE(out[1] + to, LARGER(FMA(SPLAT(2), d2, d1), SPLAT(0)));
            STORE(out[2] + to, LARGER(FMA(SPLAT(4), s2, s1 + b), SPLAT(0)));
            STORE(out[3] + to, LARGER(FMA(SPLAT(8), d2, d1) + y5, SPLAT(0)));
        }
}

TARGET static void NAME(convolve)(const ser_network *n, const void *packed, void *work, int layer, int mels,
                                  const void *const *in, void *const *out) {
    const packed_weights *p = packed;
    const float *w = p->conv[layer - 1][0][0], *bias = p->conv_bias[layer - 1];
    (void)n;
    if (mels == SER_MELS) /* pass constants, so that the loops are unrolled */
        NAME(winograd)(w, bias, work, SER_MELS, 13, (const float *const *)in, (float *const *)out);
    else
        NAME(winograd)(w, bias, work, SER_COARSE, 7, (const float *const *)in, (float *const *)out);
}

TARGET static void NAME(shrink)(const void *const *in, void *out) {
    const float *a = in[0], *b = in[1], *c = in[2];
    float *y = (float *)out + CELL;
    int h, m;
    for (h = 0; h < CELL; h += LANES) {
        vec left = LARGER(LARGER(LOAD(a + h), LOAD(b + h)), LOAD(c + h));
        for (m = 0; m < SER_COARSE; m++) {
            const int at = CELL * (2 * m + 1) + h, after = at + CELL;
            const vec here = LARGER(LARGER(LOAD(a + at), LOAD(b + at)), LOAD(c + at));
            const vec right = LARGER(LARGER(LOAD(a + after), LOAD(b + after)), LOAD(c + after));
            STORE(y + CELL * m + h, LARGER(LARGER(left, here), right));
            left = right;
        }
    }
}

TARGET static void NAME(mix)(const ser_network *n, const void *packed, const void *in, void *out) {
    const packed_weights *w = packed;
    const float *x = (const float *)in + CELL;
    float *y = out;
    int h, m, k, c;
    (void)n;
    for (h = 0; h < CELL; h += LANES) {
        float mixed[SER_COARSE][LANES];
        vec sum[SER_COARSE];
        UNROLL for (m = 0; m < SER_COARSE; m++) sum[m] = LOAD(w->mix_bias + h);
        for (k = 0; k < SER_CHANNELS; k++) {
            const vec weight = LOAD(w->mix[k] + h);
            UNROLL for (m = 0; m < SER_COARSE; m++) sum[m] = FMA(weight, SPLAT(x[CELL * m + k]), sum[m]);
        }
        memcpy(mixed, sum, sizeof mixed);
        for (c = 0; c < LANES && h + c < SER_CHANNELS; c++)
            for (m = 0; m < SER_COARSE; m++) *y++ = mixed[m][c];
    }
}

/* Add `count` logits and values of LANES channels to the pool, from place j on. */
TARGET static inline void NAME(pool_add)(ser_pool *pool, int j, const vec *logit, const vec *value, int count) {
    const vec before = LOAD(pool->largest + j);
    vec largest = before, sum = SPLAT(0), weighted = SPLAT(0);
    float shrinks[LANES], sums[LANES], weights[LANES];
    int i;
    for (i = 0; i < count; i++) largest = LARGER(largest, logit[i]);
    for (i = 0; i < count; i++) {
        const vec e = NAME(exp)(logit[i] - largest);
        sum += e;
        weighted += e * value[i];
    }
    memcpy(shrinks, &(vec[1]){NAME(exp)(before - largest)}, sizeof shrinks);
    memcpy(sums, &(vec[1]){sum}, sizeof sums);
    memcpy(weights, &(vec[1]){weighted}, sizeof weights);
    STORE(pool->largest + j, largest);
    for (i = 0; i < LANES; i++) {
        pool->sum[j + i] = pool->sum[j + i] * shrinks[i] + sums[i];
        pool->weighted[j + i] = pool->weighted[j + i] * shrinks[i] + weights[i];
    }
}

TARGET static void NAME(tokens)(const ser_network *n, const void *packed, void *work, const void *rows, int count,
                                ser_pool *pool) {
    int j, r, i, first;
    (void)packed, (void)work;
    for (j = 0; j < SER_ROW; j += LANES) {
        const int out = channel_at(j);
        const float *sofs = (const float *)n->sof.weight + out, *lins = (const float *)n->lin.weight + out;
        vec logit[SER_BATCH], value[SER_BATCH];
        for (first = 0; first < count; first += ROWS) {
            const float *x = (const float *)rows + SER_ROW * first;
            vec s[ROWS], l[ROWS];
            UNROLL for (r = 0; r < ROWS; r++) s[r] = l[r] = SPLAT(0);
            for (i = 0; i < SER_WIDTH; i++) {
                const vec sof = LOAD_ANY(sofs + SER_WIDTH * i), lin = LOAD_ANY(lins + SER_WIDTH * i);
                UNROLL for (r = 0; r < ROWS; r++) {
                    const vec here = SPLAT(x[SER_ROW * r + i]);
                    s[r] = FMA(sof, here, s[r]);
                    l[r] = FMA(lin, here, l[r]);
                }
            }
            UNROLL for (r = 0; r < ROWS; r++) {
                logit[first + r] = s[r];
                value[first + r] = l[r];
            }
        }
        NAME(pool_add)(pool, j, logit, value, count);
    }
}

const ser_kernel NAME(ser_kernel) = {GROUP,       CELL,           sizeof(float), sizeof(packed_weights), WORK,
                                     pack,        NAME(first),    NAME(convolve), NAME(shrink),          NAME(mix),
                                     NAME(tokens)};

#ifdef MADD
#include "wav2small_madd.h"
#endif

#undef NAME
#undef TARGET
#undef LANES
#undef vec
#undef ivec
#undef LOAD
#undef LOAD_ANY
#undef STORE
#undef SPLAT
#undef FMA
#undef LARGER
#undef SMALLER
#undef MADD
#undef LOAD_INT
#undef ROWS
#undef PAIRS
