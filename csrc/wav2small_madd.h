/* Wav2Small's layers in int8 for SSE2 and AVX2, which multiply 16-bit numbers and add adjacent products.
 * wav2small_kernel.h includes this file if MADD(a, b) is defined. The sums are exact and the other operations are in
 * the same order as in plain C, so outputs are bit-identical to it.
 *
 * Activations are int16, so that they can be loaded in pairs, in cells of 16 channels of which 13 are used.
 *
 * The convolutions use Winograd's algorithm as wav2small_kernel.h does, in whole numbers: the transforms of the weights
 * are multiplied by 24 and 2, so the sums come out 48 times too large, and exact. Transformed inputs are at most 5100,
 * weights 9144. Sums are modulo 2^32; 48 times the largest sum of a convolution, 182 million, is below 2^31.
 */

/* Load the two int16 at p into every lane. */
TARGET static inline ivec NAME(pair_at)(const int16_t *p) {
    int32_t both;
    memcpy(&both, p, sizeof both);
    return both - (ivec){0};
}

TARGET static inline void NAME(store_cell)(int16_t *to, ivec x) {
    const NAME(shorts) narrow = __builtin_convertvector(x, NAME(shorts));
    memcpy(to, &narrow, sizeof narrow);
}

/* clipped() of wav2small_int8.h in every lane. */
TARGET static inline ivec NAME(clipped)(vec x) {
    return __builtin_convertvector(SMALLER(LARGER(x, SPLAT(0)), SPLAT(255)) + SPLAT(0.5f), ivec);
}

TARGET static void NAME(first_int8)(const ser_network *n, const void *packed, const float *const *in,
                                    void *const *out) {
    const packed_madd *w = packed;
    int row, half, h, tap, m;
    (void)n;
    for (row = 0; row < GROUP; row++)
        for (half = 0; half < SER_MELS; half += 13)
            for (h = 0; h < CELL; h += LANES) {
                int16_t *y = (int16_t *)out[row] + CELL * (1 + half) + h;
                vec sum[13];
                UNROLL for (m = 0; m < 13; m++) sum[m] = LOAD(w->first_bias + h);
                for (tap = 0; tap < 9; tap++) {
                    const float *x = in[row + tap / 3] + half + tap % 3;
                    const vec v = LOAD(w->first[tap] + h);
                    UNROLL for (m = 0; m < 13; m++) sum[m] = sum[m] + SPLAT(x[m]) * v;
                }
                UNROLL for (m = 0; m < 13; m++) NAME(store_cell)(y + CELL * m, NAME(clipped)(sum[m]));
            }
}

TARGET static inline NAME(wide) NAME(load_wide)(const int16_t *p) {
    NAME(wide) x;
    memcpy(&x, p, sizeof x);
    return x;
}

TARGET static inline void NAME(store_wide)(int16_t *p, NAME(wide) x) { memcpy(p, &x, sizeof x); }

/* over_time of wav2small_kernel.h. */
TARGET static inline __attribute__((always_inline)) void NAME(over_time_int8)(const int16_t *const *in, size_t at,
                                                                              int two, NAME(wide) *p, NAME(wide) *q) {
    const NAME(wide) x1 = NAME(load_wide)(in[1] + at), x2 = NAME(load_wide)(in[2] + at),
                     x3 = NAME(load_wide)(in[3] + at), x4 = NAME(load_wide)(in[4] + at);
    if (two == 0) {
        *p = 4 * (NAME(load_wide)(in[0] + at) - x2) + (x4 - x2);
        *q = 4 * (x1 - x3) + (NAME(load_wide)(in[5] + at) - x3);
    } else if (two == 1) {
        const NAME(wide) even = x4 - 4 * x2, odd = x3 - 4 * x1;
        *p = even + odd;
        *q = even - odd;
    } else {
        const NAME(wide) near = x4 - x2, far = 2 * (x3 - x1);
        *p = near + far;
        *q = near - far;
    }
}

/* products of wav2small_kernel.h. v: [4][pairs][CELL], w: [4][PAIRED][CELL][2], y: [2 count][CELL]. */
TARGET static inline __attribute__((always_inline)) void NAME(products_int8)(const int16_t *v, const int16_t *w,
                                                                             uint32_t *y, int pairs, int count) {
    NAME(sums) sum[4][PAIRS];
    int k, p, g;
    UNROLL for (p = 0; p < 4; p++) UNROLL for (g = 0; g < count; g++) sum[p][g] = (NAME(sums)){0};
    for (k = 0; k < PAIRED; k++)
        UNROLL for (p = 0; p < 4; p++) {
            const ivec weight = LOAD_INT(w + 2 * CELL * (PAIRED * p + k));
            UNROLL for (g = 0; g < count; g++)
                sum[p][g] += (NAME(sums))MADD(NAME(pair_at)(v + CELL * (pairs * p + g) + 2 * k), weight);
        }
    UNROLL for (g = 0; g < count; g++) {
        const NAME(sums) y0 = sum[0][g] + sum[1][g] + sum[2][g], y1 = sum[1][g] - sum[2][g] - sum[3][g];
        memcpy(y + CELL * 2 * g, &y0, sizeof y0);
        memcpy(y + CELL * (2 * g + 1), &y1, sizeof y1);
    }
}

/* two_times of wav2small_kernel.h. */
TARGET static inline __attribute__((always_inline)) void NAME(two_times_int8)(const int16_t *const *in, int two,
                                                                              const int16_t *w, int16_t *v,
                                                                              uint32_t *y, int pairs) {
    int16_t *const v2 = v + 4 * pairs * CELL;
    int h, i, g;
    for (h = 0; h < CELL; h += 2 * LANES) {
        NAME(wide) a, b, c, d, a2, b2, c2, d2;
        NAME(over_time_int8)(in, (size_t)h, two, &a, &a2);
        NAME(over_time_int8)(in, (size_t)(CELL + h), two, &b, &b2);
        for (g = 0; g < pairs; g++) {
            const size_t at = (size_t)(CELL * g + h), next = (size_t)(pairs * CELL);
            NAME(over_time_int8)(in, (size_t)(CELL * (2 * g + 2) + h), two, &c, &c2);
            NAME(over_time_int8)(in, (size_t)(CELL * (2 * g + 3) + h), two, &d, &d2);
            NAME(store_wide)(v + at, a - c);
            NAME(store_wide)(v + at + next, b + c);
            NAME(store_wide)(v + at + 2 * next, c - b);
            NAME(store_wide)(v + at + 3 * next, b - d);
            NAME(store_wide)(v2 + at, a2 - c2);
            NAME(store_wide)(v2 + at + next, b2 + c2);
            NAME(store_wide)(v2 + at + 2 * next, c2 - b2);
            NAME(store_wide)(v2 + at + 3 * next, b2 - d2);
            a = c, b = d, a2 = c2, b2 = d2;
        }
    }
    for (i = 0; i < 2; i++, v += 4 * pairs * CELL, w += 4 * PAIRED * CELL * 2, y += 2 * pairs * CELL)
        for (h = 0; h < CELL; h += LANES) {
            for (g = 0; g + PAIRS <= pairs; g += PAIRS)
                NAME(products_int8)(v + CELL * g, w + 2 * h, y + CELL * 2 * g + h, pairs, PAIRS);
            if (pairs % PAIRS)
                NAME(products_int8)(v + CELL * g, w + 2 * h, y + CELL * 2 * g + h, pairs, pairs % PAIRS);
        }
}

/* The output of a convolution in LANES channels, from 48 times its sum: a number that is divisible by 3 is divided by
 * multiplying it by the inverse of 3 modulo 2^32. */
TARGET static inline void NAME(store_output)(int16_t *to, NAME(sums) sum, vec scale, vec bias) {
    const NAME(sums) third = (NAME(sums))((ivec)sum >> 4) * 0xaaaaaaabu;
    NAME(store_cell)(to, NAME(clipped)(__builtin_convertvector((ivec)third, vec) * scale + bias));
}

/* winograd of wav2small_kernel.h. work: v of two_times_int8, then y of its three calls. */
TARGET static inline __attribute__((always_inline)) void NAME(winograd_int8)(const packed_madd *p, int layer,
                                                                             int16_t *work, int mels, int pairs,
                                                                             const int16_t *const *in,
                                                                             int16_t *const *out) {
    const int16_t *w = p->conv[layer - 1][0][0][0];
    const size_t row = (size_t)(2 * CELL * pairs);
    uint32_t *y = (uint32_t *)(void *)(work + 8 * pairs * CELL);
    int h, m;
    NAME(two_times_int8)(in, 0, w, work, y, pairs);
    NAME(two_times_int8)(in, 1, w + 8 * PAIRED * CELL * 2, work, y + 2 * row, pairs);
    NAME(two_times_int8)(in, 2, w + 16 * PAIRED * CELL * 2, work, y + 4 * row, pairs);
    for (h = 0; h < CELL; h += LANES) {
        const vec scale = LOAD(p->conv_scale[layer - 1] + h), bias = LOAD(p->conv_bias[layer - 1] + h);
        for (m = 0; m < mels; m++) {
            const uint32_t *at = y + CELL * m + h;
            const size_t to = (size_t)(CELL * (1 + m) + h);
            NAME(sums) y0, y1, y2, y3, y4, y5, s1, d1, s2, d2;
            memcpy(&y0, at, sizeof y0);
            memcpy(&y5, at + row, sizeof y5);
            memcpy(&y1, at + 2 * row, sizeof y1);
            memcpy(&y2, at + 3 * row, sizeof y2);
            memcpy(&y3, at + 4 * row, sizeof y3);
            memcpy(&y4, at + 5 * row, sizeof y4);
            s1 = y1 + y2, d1 = y1 - y2, s2 = y3 + y4, d2 = y3 - y4;
            NAME(store_output)(out[0] + to, y0 + s1 + s2, scale, bias);
            NAME(store_output)(out[1] + to, d1 + 2 * d2, scale, bias);
            NAME(store_output)(out[2] + to, s1 + 4 * s2, scale, bias);
            NAME(store_output)(out[3] + to, d1 + 8 * d2 + y5, scale, bias);
        }
    }
}

TARGET static void NAME(convolve_int8)(const ser_network *n, const void *packed, void *work, int layer, int mels,
                                       const void *const *in, void *const *out) {
    (void)n;
    if (mels == SER_MELS) /* pass constants, so that the loops are unrolled */
        NAME(winograd_int8)(packed, layer, work, SER_MELS, 13, (const int16_t *const *)in, (int16_t *const *)out);
    else
        NAME(winograd_int8)(packed, layer, work, SER_COARSE, 7, (const int16_t *const *)in, (int16_t *const *)out);
}

TARGET static void NAME(shrink_int8)(const void *const *in, void *out) {
    int16_t *y = (int16_t *)out + CELL;
    int m, c, t;
    for (m = 0; m < SER_COARSE; m++)
        for (c = 0; c < CELL; c++) {
            int16_t most = 0;
            for (t = 0; t < 3; t++) {
                const int16_t *x = (const int16_t *)in[t] + CELL * 2 * m + c;
                most = x[0] > most ? x[0] : most;
                most = x[CELL] > most ? x[CELL] : most;
                most = x[2 * CELL] > most ? x[2 * CELL] : most;
            }
            y[CELL * m + c] = most;
        }
}

TARGET static void NAME(mix_int8)(const ser_network *n, const void *packed, const void *in, void *out) {
    const packed_madd *p = packed;
    const int16_t *x = (const int16_t *)in + CELL;
    int16_t *y = out;
    int h, m, i, c;
    (void)n;
    for (h = 0; h < CELL; h += LANES) {
        const vec scale = LOAD(p->mix_scale + h), bias = LOAD(p->mix_bias + h);
        int32_t mixed[SER_COARSE][LANES];
        for (m = 0; m < SER_COARSE; m++) {
            ivec sum = {0};
            vec v;
            for (i = 0; i < PAIRED; i++) sum += MADD(NAME(pair_at)(x + CELL * m + 2 * i), LOAD_INT(p->mix[i][h]));
            v = SMALLER(LARGER(__builtin_convertvector(sum, vec) * scale + bias, SPLAT(-127)), SPLAT(127));
            /* round half away from zero: the comparison is -1 where v < 0 */
            v += __builtin_convertvector((ivec)(v < SPLAT(0)), vec) + SPLAT(0.5f);
            sum = __builtin_convertvector(v, ivec);
            memcpy(mixed[m], &sum, sizeof sum);
        }
        for (c = 0; c < LANES && h + c < SER_CHANNELS; c++)
            for (m = 0; m < SER_COARSE; m++) *y++ = (int16_t)mixed[m][c];
    }
}

TARGET static void NAME(tokens_int8)(const ser_network *n, const void *packed, void *work, const void *rows, int count,
                                     ser_pool *pool) {
    const packed_madd *p = packed;
    int place, i, r, first;
    (void)n, (void)work;
    for (place = 0; place < SER_ROW; place += LANES) {
        const vec sof_scale = LOAD(p->token_scale[0] + place), lin_scale = LOAD(p->token_scale[1] + place);
        vec logit[SER_BATCH], value[SER_BATCH];
        for (first = 0; first < count; first += ROWS) {
            const int16_t *x = (const int16_t *)rows + SER_ROW * first;
            ivec s[ROWS], l[ROWS];
            UNROLL for (r = 0; r < ROWS; r++) s[r] = l[r] = (ivec){0};
            for (i = 0; i < TOKEN_PAIRS; i++) {
                const ivec sof = LOAD_INT(p->tokens[place / CELL][i][0][place % CELL]);
                const ivec lin = LOAD_INT(p->tokens[place / CELL][i][1][place % CELL]);
                UNROLL for (r = 0; r < ROWS; r++) {
                    const ivec here = NAME(pair_at)(x + SER_ROW * r + 2 * i);
                    s[r] += MADD(here, sof);
                    l[r] += MADD(here, lin);
                }
            }
            UNROLL for (r = 0; r < ROWS; r++) {
                logit[first + r] = __builtin_convertvector(s[r], vec) * sof_scale;
                value[first + r] = __builtin_convertvector(l[r], vec) * lin_scale;
            }
        }
        NAME(pool_add)(pool, place, logit, value, count);
    }
}

const ser_kernel NAME(ser_kernel_int8) = {
    GROUP,     CELL, sizeof(int16_t), sizeof(packed_madd), WORK_MADD, pack_madd, NAME(first_int8), NAME(convolve_int8),
    NAME(shrink_int8), NAME(mix_int8), NAME(tokens_int8)};
