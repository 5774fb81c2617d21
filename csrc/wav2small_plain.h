/* What Wav2Small's layers in plain C, float and int8, share. */
#ifndef SER_WAV2SMALL_PLAIN_H
#define SER_WAV2SMALL_PLAIN_H

#include "engine.h"

enum { C = SER_CHANNELS, M = SER_MELS, TAPS = 3 * SER_CHANNELS };

/* The first layer at one mel row, before its ReLU. in: 3 rows, w: [3 time][3 mel][13 out], sum: [13]. */
static void first_at(const float *const *in, int m, const float *w, const float *bias, float *sum) {
    int t, d, o;
    for (o = 0; o < C; o++) sum[o] = bias[o];
    for (t = 0; t < 3; t++)
        for (d = 0; d < 3; d++, w += C)
            for (o = 0; o < C; o++) sum[o] += in[t][m + d] * w[o];
}

/* Add a batch's logits and values of one channel, [count] each, to the pool at place j. */
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

#endif
