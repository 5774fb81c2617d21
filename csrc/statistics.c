/* Mean and scale of a recording in one pass. */
#include <math.h>

#include "check.h"
#include "linkage.h"
#include "sertool.h"

SER_LINKAGE void ser_statistics_init(ser_statistics *s) { memset(s, 0, sizeof *s); }

SER_LINKAGE ser_status ser_statistics_push(ser_statistics *s, const float *samples, size_t n) {
    size_t i = 0;
    if (!s || (n && !samples)) return SER_E_ARGUMENT;
    if (!ser_all_usable(samples, n)) return SER_E_VALUE;
    if (n && !s->samples) s->shift = samples[0];
    /* One by one up to a multiple of 8, then 8 lanes at a time. A sample's lane follows from its position in the
     * recording, so the sums do not depend on how the samples are split into pushes. */
    for (; i < n; i++) {
        const unsigned lane = (unsigned)((s->samples + i) % 8);
        double d;
        if (lane == 0 && n - i >= 8) break;
        d = (double)samples[i] - s->shift;
        s->sum[lane] += d;
        s->square[lane] += d * d;
    }
    for (; n - i >= 8; i += 8) {
        size_t lane;
        for (lane = 0; lane < 8; lane++) {
            const double d = (double)samples[i + lane] - s->shift;
            s->sum[lane] += d;
            s->square[lane] += d * d;
        }
    }
    for (; i < n; i++) {
        const unsigned lane = (unsigned)((s->samples + i) % 8);
        const double d = (double)samples[i] - s->shift;
        s->sum[lane] += d;
        s->square[lane] += d * d;
    }
    s->samples += n;
    return SER_OK;
}

SER_LINKAGE ser_status ser_statistics_finish(const ser_statistics *s, float *mean, float *scale) {
    double sum = 0, square = 0, shifted, variance;
    int lane;
    if (!s || !mean || !scale) return SER_E_ARGUMENT;
    if (!s->samples) return SER_E_SHORT;
    for (lane = 0; lane < 8; lane++) {
        sum += s->sum[lane];
        square += s->square[lane];
    }
    shifted = sum / (double)s->samples;
    variance = square / (double)s->samples - shifted * shifted;
    if (variance < 0) variance = 0;
    *mean = (float)(s->shift + shifted);
    *scale = (float)(1 / sqrt(variance + 1e-7));
    return SER_OK;
}
