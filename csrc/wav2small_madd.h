/* Wav2Small's layers in int8 for SSE2 and AVX2, which multiply 16-bit numbers and add adjacent products.
 * wav2small_kernel.h includes this file if MADD(a, b) is defined. The sums are exact and the other operations are in
 * the same order as in plain C, so outputs are bit-identical to it.
 *
 * Activations are int16, so that they can be loaded in pairs, in cells of 16 channels of which 13 are used.
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
    int half, h, tap, m;
    (void)n;
    for (half = 0; half < SER_MELS; half += 13)
        for (h = 0; h < CELL; h += LANES) {
            int16_t *y = (int16_t *)out[0] + CELL * (1 + half) + h;
            vec sum[13];
            UNROLL for (m = 0; m < 13; m++) sum[m] = LOAD(w->first_bias + h);
            for (tap = 0; tap < 9; tap++) {
                const float *x = in[tap / 3] + half + tap % 3;
                const vec v = LOAD(w->first[tap] + h);
                UNROLL for (m = 0; m < 13; m++) sum[m] = sum[m] + SPLAT(x[m]) * v;
            }
            UNROLL for (m = 0; m < 13; m++) NAME(store_cell)(y + CELL * m, NAME(clipped)(sum[m]));
        }
}

TARGET static void NAME(convolve_int8)(const ser_network *n, const void *packed, void *work, int layer, int mels,
                                       const void *const *in, void *const *out) {
    const packed_madd *p = packed;
    int first, h, t, d, i, m;
    (void)n, (void)work;
    for (first = 0; first < mels; first += 13)
        for (h = 0; h < CELL; h += LANES) {
            const vec scale = LOAD(p->conv_scale[layer - 1] + h), bias = LOAD(p->conv_bias[layer - 1] + h);
            int16_t *y = (int16_t *)out[0] + CELL * (1 + first) + h;
            ivec sum[13];
            UNROLL for (m = 0; m < 13; m++) sum[m] = (ivec){0};
            for (t = 0; t < 3; t++)
                for (d = 0; d < 3; d++)
                    for (i = 0; i < PAIRED; i++) {
                        const int16_t *x = (const int16_t *)in[t] + CELL * (first + d) + 2 * i;
                        const ivec w = LOAD_INT(p->conv[layer - 1][t][d][i][h]);
                        UNROLL for (m = 0; m < 13; m++) sum[m] += MADD(NAME(pair_at)(x + CELL * m), w);
                    }
            UNROLL for (m = 0; m < 13; m++)
                NAME(store_cell)(y + CELL * m, NAME(clipped)(__builtin_convertvector(sum[m], vec) * scale + bias));
        }
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
    1,         CELL, sizeof(int16_t), sizeof(packed_madd), 0, pack_madd, NAME(first_int8), NAME(convolve_int8),
    NAME(shrink_int8), NAME(mix_int8), NAME(tokens_int8)};
