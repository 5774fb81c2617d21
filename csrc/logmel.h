/* What logmel.c, which streams, and logmel_init.c, which has the kernels and lays out memory, know of a LogMel. */
#ifndef SER_LOGMEL_H
#define SER_LOGMEL_H

#include "sertool.h"

typedef struct ser_geometry {
    int n_fft, hop, n_mels;
    int radix[5];                /* of the half-length FFT; their product is n_fft / 2 */
    const float *window;         /* [n_fft] */
    const float *twiddle;        /* [2 n_fft] */
    const unsigned char *first;  /* [n_mels] */
    const unsigned char *count;  /* [n_mels] */
    const float *weight;         /* [sum of count] */
} ser_geometry;

struct ser_logmel {
    const ser_geometry *g;
    void (*block)(const ser_geometry *, const float *, int, void *, float *); /* logmel_kernel.h */
    int lanes;
    float mean, scale;
    uint64_t samples; /* pushed */
    uint64_t frames;  /* written */
    size_t held;      /* floats in carry */
    float *carry;     /* the sample before the next frame, that frame, and the samples after it */
    void *work;       /* vec [5 n_fft / 2 + 1 + n_mels] */
};

/* Return the floats to gather in the carry before computing a block: one sample before it, `lanes` frames, and one
 * more, because the reflection at the start needs one sample more than the first frame. */
static inline size_t ser_gathered(const ser_geometry *g, int lanes) {
    return 2 + (size_t)(lanes - 1) * (size_t)g->hop + (size_t)g->n_fft;
}

/* Prepare for the first sample of a recording. */
static inline void ser_logmel_rewind(ser_logmel *s) {
    s->samples = s->frames = 0;
    s->held = 1 + (size_t)s->g->n_fft / 2; /* filled in once there are enough samples to reflect */
}

#endif
