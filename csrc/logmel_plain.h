/* Parameters of logmel_kernel.h for one frame at a time, in plain C: the reference for the other instruction sets. */
#ifndef SER_LOGMEL_PLAIN_H
#define SER_LOGMEL_PLAIN_H

#include "bits.h"
#include "logmel.h"

#define NAME(x) x##_plain
#define TARGET
#define vec float
#define ivec int32_t
#define AS_INT(v) int_of(v)
#define AS_FLOAT(v) float_of(v)
#define TO_FLOAT(v) ((float)(v))
#define AT_LEAST(v, c) ((v) > (c) ? (v) : (c))

static void load_plain(const ser_geometry *g, const float *samples, float *even, float *odd) {
    int j;
    for (j = 0; j < g->n_fft / 2; j++) {
        even[j] = samples[2 * j] * g->window[2 * j];
        odd[j] = samples[2 * j + 1] * g->window[2 * j + 1];
    }
}

static void store_plain(const ser_geometry *g, const float *db, int count, float *out) {
    int m;
    (void)count;
    for (m = 0; m < g->n_mels; m++) out[m] = db[m];
}

#endif
