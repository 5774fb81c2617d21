/* Streaming LogMel: a carry buffer for one block of frames, which a kernel computes at once. */
#include "check.h"
#include "linkage.h"
#include "logmel.h"

SER_LINKAGE ser_status ser_logmel_normalise(ser_logmel *s, float mean, float scale) {
    if (!s) return SER_E_ARGUMENT;
    if (!ser_all_usable(&mean, 1) || !ser_all_usable(&scale, 1)) return SER_E_VALUE;
    s->mean = mean;
    s->scale = scale;
    return SER_OK;
}

/* Return the number of frames within the first n samples and their reflection at the start. */
static uint64_t complete_frames(const ser_geometry *g, uint64_t n) {
    const uint64_t half = (uint64_t)g->n_fft / 2;
    return n < half + 1 ? 0 : 1 + (n - half) / (uint64_t)g->hop;
}

SER_LINKAGE size_t ser_logmel_ready(const ser_logmel *s, size_t n) {
    return (size_t)(complete_frames(s->g, s->samples + n) - s->frames);
}

/* Compute the first `count` frames of the carry, at most s->lanes, and drop the samples that no later frame needs. */
static void write_frames(ser_logmel *s, int count, float *out) {
    const size_t used = (size_t)count * (size_t)s->g->hop;
    s->block(s->g, s->carry + 1, count, s->work, out);
    s->held -= used;
    memmove(s->carry, s->carry + used, s->held * sizeof *s->carry);
    s->frames += (uint64_t)count;
}

SER_LINKAGE ser_status ser_logmel_push(ser_logmel *s, const float *samples, size_t n, float *out, size_t capacity,
                                       size_t *frames) {
    const ser_geometry *g;
    size_t ready, done = 0;
    if (!s || !frames || (n && !samples)) return SER_E_ARGUMENT;
    *frames = 0;
    g = s->g;
    if (!ser_all_usable(samples, n)) return SER_E_VALUE;
    ready = ser_logmel_ready(s, n);
    if (ready > capacity) return SER_E_SPACE;
    if (ready && !out) return SER_E_ARGUMENT;
    while (n) {
        const size_t half = (size_t)g->n_fft / 2, room = ser_gathered(g, s->lanes) - s->held;
        const size_t take = n < room ? n : room;
        const int had_left = s->samples > half;
        size_t i, count;
        for (i = 0; i < take; i++) s->carry[s->held + i] = (samples[i] - s->mean) * s->scale;
        s->held += take;
        s->samples += take;
        samples += take;
        n -= take;
        if (!had_left && s->samples > half)
            for (i = 1; i <= half; i++) s->carry[1 + half - i] = s->carry[1 + half + i];
        count = (size_t)(complete_frames(g, s->samples) - s->frames);
        if (count && (n == 0 || count == (size_t)s->lanes)) {
            write_frames(s, (int)count, out + done * (size_t)g->n_mels);
            done += count;
        }
    }
    *frames = done;
    return SER_OK;
}

SER_LINKAGE ser_status ser_logmel_finish(ser_logmel *s, float *out) {
    size_t i, half;
    if (!s) return SER_E_ARGUMENT;
    half = (size_t)s->g->n_fft / 2;
    if (s->samples < half + 1) {
        ser_logmel_rewind(s);
        return SER_E_SHORT;
    }
    if (!out) return SER_E_ARGUMENT;
    for (i = 0; i < half; i++) s->carry[s->held + i] = s->carry[s->held - 2 - i];
    s->held += half;
    write_frames(s, 1, out); /* only one frame remains: hop is half of n_fft */
    ser_logmel_rewind(s);
    return SER_OK;
}
