/* Wav2Small's layers in plain C, int8: the reference for the other int8 kernels, also used on microcontrollers. */
#ifndef SER_WAV2SMALL_INT8_H
#define SER_WAV2SMALL_INT8_H

#include "wav2small_plain.h"

static int8_t rounded(float x) {
    x = x > -127.0f ? x : -127.0f;
    x = x < 127.0f ? x : 127.0f;
    return (int8_t)(x < 0 ? x - 0.5f : x + 0.5f);
}

/* ReLU clipped to 255 and rounded. */
static uint8_t clipped(float x) {
    x = x > 0.0f ? x : 0.0f;
    x = x < 255.0f ? x : 255.0f;
    return (uint8_t)(x + 0.5f);
}

/* Dot products of weights with two windows of a layer's input, or of a token with two rows of weights. Cortex-M DSP
 * instructions multiply and add two products at once, but compilers do not generate them, hence the intrinsics:
 * __sxtb16 extends the even bytes of a word to two 16-bit numbers. */
enum { WINDOW = 3 * TAPS, WIDE = WINDOW + 3 };
#if defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
/* x: [WINDOW]. wide: [WIDE], in each group of four the even elements first. */
static void widen(const uint8_t *x, int16_t *wide) {
    int i;
    for (i = 0; i + 4 <= WINDOW; i += 4) {
        uint32_t four;
        uint16x2_t even, odd;
        memcpy(&four, x + i, 4);
        even = __uxtb16(four);
        odd = __uxtb16(four >> 8);
        memcpy(wide + i, &even, 4);
        memcpy(wide + i + 2, &odd, 4);
    }
    for (; i < WINDOW; i++) wide[i] = x[i];
}
/* The bytes 0 and 2 of four as 16-bit numbers. */
static int16x2_t two_of(uint32_t four) { return __sxtb16((int8x4_t)four); }
/* x: [2][WIDE], w: [WINDOW], sum: [2] */
static void dots(const int16_t *x, const int8_t *w, int32_t *sum) {
    int32_t a = 0, b = 0;
    int i;
    for (i = 0; i + 4 <= WINDOW; i += 4, x += 4, w += 4) {
        uint32_t four;
        int16x2_t wide[2], next[2];
        memcpy(&four, w, 4);
        memcpy(wide, x, 8);
        memcpy(next, x + WIDE, 8);
        a = __smlad(wide[0], two_of(four), a);
        b = __smlad(next[0], two_of(four), b);
        a = __smlad(wide[1], two_of(four >> 8), a);
        b = __smlad(next[1], two_of(four >> 8), b);
    }
    for (; i < WINDOW; i++, x++, w++) a += x[0] * *w, b += x[WIDE] * *w;
    sum[0] = a;
    sum[1] = b;
}
/* x, v, w: [SER_WIDTH], sum: [2] */
static void dots_of_token(const int8_t *x, const int8_t *v, const int8_t *w, int32_t *sum) {
    int32_t a = 0, b = 0;
    int i;
    for (i = 0; i + 4 <= SER_WIDTH; i += 4) {
        uint32_t four, one, other;
        memcpy(&four, x + i, 4);
        memcpy(&one, v + i, 4);
        memcpy(&other, w + i, 4);
        a = __smlad(two_of(four), two_of(one), a);
        b = __smlad(two_of(four), two_of(other), b);
        a = __smlad(two_of(four >> 8), two_of(one >> 8), a);
        b = __smlad(two_of(four >> 8), two_of(other >> 8), b);
    }
    for (; i < SER_WIDTH; i++) a += x[i] * v[i], b += x[i] * w[i];
    sum[0] = a;
    sum[1] = b;
}
#else
static void widen(const uint8_t *x, int16_t *wide) {
    int i;
    for (i = 0; i < WINDOW; i++) wide[i] = x[i];
}
static void dots(const int16_t *x, const int8_t *w, int32_t *sum) {
    int i;
    for (i = 0, sum[0] = sum[1] = 0; i < WINDOW; i++) sum[0] += x[i] * w[i], sum[1] += x[WIDE + i] * w[i];
}
static void dots_of_token(const int8_t *x, const int8_t *v, const int8_t *w, int32_t *sum) {
    int i;
    for (i = 0, sum[0] = sum[1] = 0; i < SER_WIDTH; i++) sum[0] += x[i] * v[i], sum[1] += x[i] * w[i];
}
#endif

static void first_int8(const ser_network *n, const void *packed, const float *const *in, void *const *out) {
    uint8_t *y = (uint8_t *)out[0] + C;
    int m, o;
    (void)packed;
    for (m = 0; m < M; m++) {
        float sum[C];
        first_at(in, m, n->conv[0].weight, n->conv[0].bias, sum);
        for (o = 0; o < C; o++) *y++ = clipped(sum[o]);
    }
}

static void convolve_int8(const ser_network *n, const void *packed, void *work, int layer, int mels,
                          const void *const *in, void *const *out) {
    const ser_layer *l = &n->conv[layer];
    uint8_t *y = (uint8_t *)out[0] + C, window[WINDOW];
    int m, o, t, k;
    int16_t x[2 * WIDE];
    (void)packed, (void)work;
    for (m = 0; m < mels; m += 2, y += 2 * C) {
        const int8_t *w = l->weight; /* [13 out][3 time][3 mel][13 in] */
        const int both = m + 1 < mels;
        for (k = 0; k <= both; k++) {
            for (t = 0; t < 3; t++) memcpy(window + TAPS * t, (const uint8_t *)in[t] + C * (m + k), TAPS);
            widen(window, x + WIDE * k);
        }
        for (o = 0; o < C; o++, w += WINDOW) {
            int32_t sum[2];
            dots(x, w, sum);
            for (k = 0; k <= both; k++) y[C * k + o] = clipped((float)sum[k] * l->scale[o] + l->bias[o]);
        }
    }
}

static void shrink_int8(const void *const *in, void *out) {
    uint8_t *y = (uint8_t *)out + C;
    int m, c, t, d;
    for (m = 0; m < M; m += 2)
        for (c = 0; c < C; c++) {
            uint8_t most = 0;
            for (t = 0; t < 3; t++)
                for (d = 0; d < 3; d++) {
                    const uint8_t x = ((const uint8_t *)in[t])[C * (m + d) + c];
                    most = x > most ? x : most;
                }
            *y++ = most;
        }
}

static void mix_int8(const ser_network *n, const void *packed, const void *in, void *out) {
    const int8_t *w = n->mix.weight; /* [13 out][13 in] */
    int8_t *y = out;
    int m, o, i;
    (void)packed;
    for (o = 0; o < C; o++, w += C)
        for (m = 0; m < SER_COARSE; m++) {
            const uint8_t *x = (const uint8_t *)in + C * (1 + m);
            int32_t sum = 0;
            for (i = 0; i < C; i++) sum += x[i] * w[i];
            *y++ = rounded((float)sum * n->mix.scale[o] + n->mix.bias[o]);
        }
}

static void tokens_int8(const ser_network *n, const void *packed, void *work, const void *rows, int count,
                        ser_pool *pool) {
    const int8_t *sof = n->sof.weight, *lin = n->lin.weight;
    int j, r;
    (void)packed, (void)work;
    for (j = 0; j < SER_WIDTH; j++, sof += SER_WIDTH, lin += SER_WIDTH) {
        float logit[SER_BATCH], value[SER_BATCH];
        for (r = 0; r < count; r++) {
            const int8_t *x = (const int8_t *)rows + SER_ROW * r;
            int32_t sum[2];
            dots_of_token(x, sof, lin, sum);
            logit[r] = (float)sum[0] * n->sof.scale[j];
            value[r] = (float)sum[1] * n->lin.scale[j];
        }
        pool_add(pool, ser_place(j), logit, value, count);
    }
}

static const ser_kernel ser_kernel_int8 = {1,          C,             1,           0,        0,          NULL,
                                           first_int8, convolve_int8, shrink_int8, mix_int8, tokens_int8};

#endif
