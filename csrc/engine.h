/* Interface between wav2small.c, which moves rows from layer to layer, and the kernels that compute the layers. */
#ifndef SER_ENGINE_H
#define SER_ENGINE_H

#include "bits.h"
#include "network.h"

enum {
    SER_ROW = 176,    /* elements per row of a batch: SER_WIDTH plus padding */
    SER_BATCH = 12,   /* maximum rows in a batch */
    SER_MOST_GROUP = 4
};

/* Running softmax pooling over tokens, with one place per channel (ser_place): the largest logit, the sum of
 * exp(logit - largest), and the sum of exp(logit - largest) * value. The sums are double because long recordings add up
 * hours of tokens. */
typedef struct ser_pool {
    float largest[SER_ROW];
    double sum[SER_ROW];
    double weighted[SER_ROW];
} ser_pool;

/* Return the place of a channel. The last 16 places are the last 16 channels, so that kernels that compute 16 channels
 * at once stay within bounds; some channels have two places. */
static inline int ser_place(int channel) { return channel < SER_ROW - 16 ? channel : channel + (SER_ROW - SER_WIDTH); }

/* An implementation of the network's layers. Activations are rows of [mel][cell], one row per time step. A cell has
 * `cell` channels, of which the first 13 are used. A row has a cell of zeros on either side: 1 + mels + 1 cells (1 +
 * mels + 2 for 13 mels, so that the number is even). A convolution computes `group` rows from group + 2.
 */
typedef struct ser_kernel {
    int group;
    int cell;
    int bytes;     /* per element: 4 for float, 2 for int16_t, 1 for uint8_t and int8_t */
    size_t packed; /* bytes of the packed weights, 0 if the kernel uses the weights as stored */
    size_t work;   /* bytes of scratch memory for a call */

    void (*pack)(const ser_network *n, void *packed);
    /* in: group + 2 rows of [1 + 26 + 1] floats. out: group rows of [1 + 26 + 1][cell] */
    void (*first)(const ser_network *n, const void *packed, const float *const *in, void *const *out);
    /* Layers 1 to 6. in: group + 2 rows, out: group rows, both [1 + mels + 1 or 2][cell] */
    void (*convolve)(const ser_network *n, const void *packed, void *work, int layer, int mels,
                     const void *const *in, void *const *out);
    /* 3 x 3 max pooling with stride 2. in: 3 rows of [1 + 26 + 1][cell], out: [1 + 13 + 2][cell] */
    void (*shrink)(const void *const *in, void *out);
    /* in: [1 + 13 + 2][cell]. out: [13 channels][13 mels], elements of `bytes` bytes, signed */
    void (*mix)(const ser_network *n, const void *packed, const void *in, void *out);
    /* rows: [count][SER_ROW], of which SER_WIDTH are used, elements of `bytes` bytes, signed */
    void (*tokens)(const ser_network *n, const void *packed, void *work, const void *rows, int count, ser_pool *pool);
} ser_kernel;

/* Return e^x for x <= 0; below -87, e^-87. x = n ln 2 + r, |r| <= ln(2) / 2; the series of e^r up to r^6 has an error
 * of 1e-7. Every kernel does these steps in this order. */
static inline float ser_exp(float x) {
    int32_t n;
    float r;
    x = x > -87.0f ? x : -87.0f;
    n = (int32_t)(x * 1.44269504f - 0.5f);
    r = x - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    return float_of((n + 127) << 23) *
           ((((((1.0f / 720 * r + 1.0f / 120) * r + 1.0f / 24) * r + 1.0f / 6) * r + 0.5f) * r + 1.0f) * r + 1.0f);
}

#endif
