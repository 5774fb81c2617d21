/* Wav2Small's layers in plain C, float: the reference for the other float kernels, also used on microcontrollers. */
#ifndef SER_WAV2SMALL_FLOAT_H
#define SER_WAV2SMALL_FLOAT_H

#include "wav2small_plain.h"

static void first(const ser_network *n, const void *packed, const float *const *in, void *const *out) {
    float *y = (float *)out[0] + C;
    int m, o;
    (void)packed;
    for (m = 0; m < M; m++) {
        float sum[C];
        first_at(in, m, n->conv[0].weight, n->conv[0].bias, sum);
        for (o = 0; o < C; o++) *y++ = sum[o] > 0 ? sum[o] : 0;
    }
}

static void convolve(const ser_network *n, const void *packed, void *work, int layer, int mels,
                     const void *const *in, void *const *out) {
    const ser_layer *l = &n->conv[layer];
    float *y = (float *)out[0] + C;
    int m, o, t, i;
    (void)packed, (void)work;
    for (m = 0; m < mels; m++) {
        const float *w = l->weight; /* [3 time][3 mel][13 in][13 out]; mel and in are contiguous in a row */
        float sum[C];
        for (o = 0; o < C; o++) sum[o] = l->bias[o];
        for (t = 0; t < 3; t++) {
            const float *x = (const float *)in[t] + C * m;
            for (i = 0; i < TAPS; i++, w += C)
                for (o = 0; o < C; o++) sum[o] += x[i] * w[o];
        }
        for (o = 0; o < C; o++) *y++ = sum[o] > 0 ? sum[o] : 0;
    }
}

/* The input comes from a ReLU, so zero padding does not change the maximum. */
static void shrink(const void *const *in, void *out) {
    float *y = (float *)out + C;
    int m, c, t, d;
    for (m = 0; m < M; m += 2)
        for (c = 0; c < C; c++) {
            float most = 0;
            for (t = 0; t < 3; t++)
                for (d = 0; d < 3; d++) {
                    const float x = ((const float *)in[t])[C * (m + d) + c];
                    most = x > most ? x : most;
                }
            *y++ = most;
        }
}

static void mix(const ser_network *n, const void *packed, const void *in, void *out) {
    const float *x = (const float *)in + C;
    float *y = out;
    int m, o, i;
    (void)packed;
    for (m = 0; m < SER_COARSE; m++, x += C) {
        const float *w = n->mix.weight; /* [13 in][13 out] */
        float sum[C];
        for (o = 0; o < C; o++) sum[o] = n->mix.bias[o];
        for (i = 0; i < C; i++, w += C)
            for (o = 0; o < C; o++) sum[o] += x[i] * w[o];
        for (o = 0; o < C; o++) y[SER_COARSE * o + m] = sum[o];
    }
}

static void tokens(const ser_network *n, const void *packed, void *work, const void *rows, int count,
                   ser_pool *pool) {
    int j, r, i, o;
    (void)packed, (void)work;
    for (j = 0; j < SER_WIDTH; j += C) {
        float logit[C][SER_BATCH], value[C][SER_BATCH];
        for (r = 0; r < count; r++) {
            const float *x = (const float *)rows + SER_ROW * r;
            const float *sof = (const float *)n->sof.weight + j, *lin = (const float *)n->lin.weight + j;
            float s[C] = {0}, l[C] = {0};
            for (i = 0; i < SER_WIDTH; i++, sof += SER_WIDTH, lin += SER_WIDTH)
                for (o = 0; o < C; o++) {
                    s[o] += x[i] * sof[o];
                    l[o] += x[i] * lin[o];
                }
            for (o = 0; o < C; o++) {
                logit[o][r] = s[o];
                value[o][r] = l[o];
            }
        }
        for (o = 0; o < C; o++) pool_add(pool, ser_place(j + o), logit[o], value[o], count);
    }
}

static const ser_kernel ser_kernel_float = {1, C, sizeof(float), 0, 0, NULL, first, convolve, shrink, mix, tokens};

#endif
