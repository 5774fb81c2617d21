/* Wav2Small's layers in plain C, float and int8: the reference for every other way, and what a microcontroller runs. */
#include "engine.h"

enum { C = SER_CHANNELS, M = SER_MELS, TAPS = 3 * SER_CHANNELS };

static int8_t rounded(float x) {
    x = x > -127.0f ? x : -127.0f;
    x = x < 127.0f ? x : 127.0f;
    return (int8_t)(x < 0 ? x - 0.5f : x + 0.5f);
}

/* A ReLU that ends at 255, rounded. */
static uint8_t clipped(float x) {
    x = x > 0.0f ? x : 0.0f;
    x = x < 255.0f ? x : 255.0f;
    return (uint8_t)(x + 0.5f);
}

/* One output of the first layer: in: 3 rows, w: [3 time][3 mel]. */
static float first_at(const float *const *in, int m, const float *w, float bias) {
    float sum = bias;
    int t, d;
    for (t = 0; t < 3; t++)
        for (d = 0; d < 3; d++) sum += in[t][m + d] * w[3 * t + d];
    return sum;
}

/* Add a batch's logits and values of one channel to the pool: [count] each. */
static void pool_add(ser_pool *pool, int j, const float *logit, const float *value, int count) {
    float largest = pool->largest[j], sum = 0, weighted = 0, shrink;
    int i;
    for (i = 0; i < count; i++) largest = logit[i] > largest ? logit[i] : largest;
    for (i = 0; i < count; i++) {
        const float e = ser_exp(logit[i] - largest);
        sum += e;
        weighted += e * value[i];
    }
    shrink = ser_exp(pool->largest[j] - largest);
    pool->largest[j] = largest;
    pool->sum[j] = pool->sum[j] * shrink + sum;
    pool->weighted[j] = pool->weighted[j] * shrink + weighted;
}

/* ---- float ---------------------------------------------------------------------------------------------------- */

static void first(const ser_network *n, const void *packed, const float *const *in, void *const *out) {
    const float *w = n->conv[0].weight; /* [13][3][3] */
    float *y = (float *)out[0] + C;
    int m, o;
    (void)packed;
    for (m = 0; m < M; m++)
        for (o = 0; o < C; o++) {
            const float sum = first_at(in, m, w + 9 * o, n->conv[0].bias[o]);
            *y++ = sum > 0 ? sum : 0;
        }
}

static void convolve(const ser_network *n, const void *packed, void *work, int layer, int mels,
                     const void *const *in, void *const *out) {
    const ser_layer *l = &n->conv[layer];
    float *y = (float *)out[0] + C;
    int m, o, t, i;
    (void)packed, (void)work;
    for (m = 0; m < mels; m++) {
        const float *w = l->weight; /* [13 out][3 time][3 mel][13 in]: the last two run along a row */
        for (o = 0; o < C; o++) {
            float sum = l->bias[o];
            for (t = 0; t < 3; t++, w += TAPS) {
                const float *x = (const float *)in[t] + C * m;
                for (i = 0; i < TAPS; i++) sum += x[i] * w[i];
            }
            *y++ = sum > 0 ? sum : 0;
        }
    }
}

/* What is shrunk comes from a ReLU: the zeros around it change no maximum. */
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
    const float *w = n->mix.weight;
    float *y = out;
    int m, o, i;
    (void)packed;
    for (o = 0; o < C; o++, w += C)
        for (m = 0; m < SER_COARSE; m++) {
            const float *x = (const float *)in + C * (1 + m);
            float sum = n->mix.bias[o];
            for (i = 0; i < C; i++) sum += x[i] * w[i];
            *y++ = sum;
        }
}

static void tokens(const ser_network *n, const void *packed, void *work, const void *rows, int count,
                   ser_pool *pool) {
    const float *sof = n->sof.weight, *lin = n->lin.weight;
    int j, r, i;
    (void)packed, (void)work;
    for (j = 0; j < SER_WIDTH; j++, sof += SER_WIDTH, lin += SER_WIDTH) {
        float logit[SER_BATCH], value[SER_BATCH];
        for (r = 0; r < count; r++) {
            const float *x = (const float *)rows + SER_ROW * r;
            float s = 0, l = 0;
            for (i = 0; i < SER_WIDTH; i++) {
                s += x[i] * sof[i];
                l += x[i] * lin[i];
            }
            logit[r] = s;
            value[r] = l;
        }
        pool_add(pool, j, logit, value, count);
    }
}

const ser_kernel ser_kernel_plain = {1, C, sizeof(float), 0, 0, NULL, first, convolve, shrink, mix, tokens};

/* ---- int8 ----------------------------------------------------------------------------------------------------- */

static void first_int8(const ser_network *n, const void *packed, const float *const *in, void *const *out) {
    const float *w = n->conv[0].weight;
    uint8_t *y = (uint8_t *)out[0] + C;
    int m, o;
    (void)packed;
    for (m = 0; m < M; m++)
        for (o = 0; o < C; o++) *y++ = clipped(first_at(in, m, w + 9 * o, n->conv[0].bias[o]));
}

static void convolve_int8(const ser_network *n, const void *packed, void *work, int layer, int mels,
                          const void *const *in, void *const *out) {
    const ser_layer *l = &n->conv[layer];
    uint8_t *y = (uint8_t *)out[0] + C;
    int m, o, t, i;
    (void)packed, (void)work;
    for (m = 0; m < mels; m++) {
        const int8_t *w = l->weight;
        for (o = 0; o < C; o++) {
            int32_t sum = 0;
            for (t = 0; t < 3; t++, w += TAPS) {
                const uint8_t *x = (const uint8_t *)in[t] + C * m;
                for (i = 0; i < TAPS; i++) sum += x[i] * w[i];
            }
            *y++ = clipped((float)sum * l->scale[o] + l->bias[o]);
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
    const int8_t *w = n->mix.weight;
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
    int j, r, i;
    (void)packed, (void)work;
    for (j = 0; j < SER_WIDTH; j++, sof += SER_WIDTH, lin += SER_WIDTH) {
        float logit[SER_BATCH], value[SER_BATCH];
        for (r = 0; r < count; r++) {
            const int8_t *x = (const int8_t *)rows + SER_ROW * r;
            int32_t s = 0, l = 0;
            for (i = 0; i < SER_WIDTH; i++) {
                s += x[i] * sof[i];
                l += x[i] * lin[i];
            }
            logit[r] = (float)s * n->sof.scale[j];
            value[r] = (float)l * n->lin.scale[j];
        }
        pool_add(pool, j, logit, value, count);
    }
}

const ser_kernel ser_kernel_plain_int8 = {1, C, 1, 0, 0, NULL, first_int8, convolve_int8, shrink_int8, mix_int8,
                                          tokens_int8};
