/* What stands between wav2small.c, which moves rows from layer to layer, and the files that compute them. */
#ifndef SER_ENGINE_H
#define SER_ENGINE_H

#include "bits.h"
#include "weights.h"

enum {
    SER_ROW = 176,    /* elements between the rows of a batch: SER_WIDTH, padded */
    SER_BATCH = 12,   /* rows of a batch at most */
    SER_MOST_GROUP = 4
};

/* The softmax over tokens so far, a place for each of its channels (ser_channel): largest logit, sum of exp(logit - largest),
 * sum of that times value. The sums are double: hours of tokens are added up. */
typedef struct ser_pool {
    float largest[SER_ROW];
    double sum[SER_ROW];
    double weighted[SER_ROW];
} ser_pool;

/* The channel at a place of the pool. The last 16 places are the last 16 channels: what is computed 16 channels at once
 * then never reaches beyond them; some are there twice. */
static inline int ser_channel(int place) { return place < SER_ROW - 16 ? place : place - (SER_ROW - SER_WIDTH); }

/* The other way round. */
static inline int ser_place(int channel) { return channel < SER_ROW - 16 ? channel : channel + (SER_ROW - SER_WIDTH); }

/* One way to compute the network's layers. Activations lie as [mel][cell], a row a time step, `cell` channels a mel
 * row of which the first 13 count, and a cell of zeros on either side: rows of 1 + mels + 1 cells (2 for 13 mels, so
 * that they come in pairs). A convolution makes `group` rows out of group + 2.
 */
typedef struct ser_kernel {
    int group;
    int cell;
    int bytes;     /* of an element: 4 for float, 2 for int16_t, 1 for uint8_t and int8_t */
    size_t packed; /* bytes of its form of the weights, 0 if it takes them as they are */
    size_t work;   /* bytes of memory for a call */

    void (*pack)(const ser_network *n, void *packed);
    /* in: group + 2 rows of [1 + 26 + 1] floats. out: group rows of [1 + 26 + 1][cell] */
    void (*first)(const ser_network *n, const void *packed, const float *const *in, void *const *out);
    /* Layer 1 to 6. in: group + 2 rows, out: group rows, both [1 + mels + 1 or 2][cell] */
    void (*convolve)(const ser_network *n, const void *packed, void *work, int layer, int mels,
                     const void *const *in, void *const *out);
    /* The largest of 3 x 3, every second one. in: 3 rows of [1 + 26 + 1][cell], out: [1 + 13 + 2][cell] */
    void (*shrink)(const void *const *in, void *out);
    /* in: [1 + 13 + 2][cell]. out: [13 channels][13 mels], of an element's type, signed */
    void (*mix)(const ser_network *n, const void *packed, const void *in, void *out);
    /* rows: [count][SER_ROW] of which SER_WIDTH count, of an element's type, signed */
    void (*tokens)(const ser_network *n, const void *packed, void *work, const void *rows, int count, ser_pool *pool);
} ser_kernel;

extern const ser_kernel ser_kernel_plain, ser_kernel_plain_int8;
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__)) && (defined(__clang__) || __GNUC__ >= 12)
#define SER_WITH_VECTORS 1
extern const ser_kernel ser_kernel_128;
#if defined(__x86_64__)
extern const ser_kernel ser_kernel_avx2, ser_kernel_avx512;
extern const ser_kernel ser_kernel_int8_128, ser_kernel_int8_avx2, ser_kernel_vnni;
#endif
#else
#define SER_WITH_VECTORS 0
#endif

/* e^x for x <= 0, 0 being e^-87 and less. x = n ln 2 + r, |r| <= ln(2) / 2; the series of e^r up to r^6 leaves an
 * error of 1e-7. Every kernel does these steps in this order. */
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
