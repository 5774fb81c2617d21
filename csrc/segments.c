/* Convert speech probabilities to segments, with two thresholds and three durations. */
#include <string.h>

#include "sertool.h"

ser_vad_parameters ser_vad_parameters_default(void) {
    const ser_vad_parameters defaults = {0.5, 0.35, 0.25, 0.1, 0.03};
    return defaults;
}

static int is_time(double seconds) { return 0 <= seconds && seconds <= 1e9; } /* false for NaN */

static uint64_t samples_of(double seconds) { return (uint64_t)(seconds * 16000 + 0.5); }

ser_status ser_segmenter_init(ser_segmenter *s, const ser_vad_parameters *p) {
    if (!s || !p || !(0 <= p->lower && p->lower <= p->threshold && p->threshold <= 1)) return SER_E_ARGUMENT;
    if (!is_time(p->shortest_speech_s) || !is_time(p->shortest_silence_s) || !is_time(p->padding_s))
        return SER_E_ARGUMENT;
    memset(s, 0, sizeof *s);
    s->threshold = (float)p->threshold;
    s->lower = (float)p->lower;
    s->speech = samples_of(p->shortest_speech_s);
    s->silence = samples_of(p->shortest_silence_s);
    s->padding = samples_of(p->padding_s);
    return SER_OK;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* End the open segment and hold it. Write the previously held segment, if any, to *out; return how many, 0 or 1. */
static size_t end_at(ser_segmenter *s, uint64_t end, ser_segment *out) {
    const int before = s->held;
    uint64_t margin = least(s->padding, s->start);
    s->running = s->ending = 0;
    if (end - s->start < s->speech) return 0;
    if (before) {
        margin = least(s->padding, (s->start - s->last.end) / 2);
        out->start = s->last.start;
        out->end = s->last.end + margin;
    }
    s->last.start = s->start - margin;
    s->last.end = end;
    s->held = 1;
    return (size_t)before;
}

/* Return 1 if the held segment has room for its full padding, whatever follows and however short the last frame is. */
static int has_room(const ser_segmenter *s) {
    const uint64_t next = s->running ? s->start : s->position, end = s->last.end;
    return next - end >= 2 * s->padding && end + s->padding <= s->position - SER_VAD_FRAME + 1;
}

ser_status ser_segmenter_push(ser_segmenter *s, const float *probabilities, size_t n, ser_segment *out,
                              size_t capacity, size_t *segments) {
    ser_segmenter now;
    ser_segment ended;
    size_t i, done = 0;
    if (!s || !segments || (n && !probabilities) || (capacity && !out)) return SER_E_ARGUMENT;
    *segments = 0;
    for (i = 0; i < n; i++)
        if (!(probabilities[i] >= 0 && probabilities[i] <= 1)) return SER_E_VALUE;
    now = *s; /* a copy, so that a push that fails has no effect */
    for (i = 0; i < n; i++, now.position += SER_VAD_FRAME) {
        if (probabilities[i] >= now.threshold) {
            if (!now.running) now.start = now.position;
            now.running = 1;
            now.ending = 0;
        } else if (probabilities[i] < now.lower && now.running) {
            if (!now.ending) now.end = now.position;
            now.ending = 1;
            if (now.position - now.end >= now.silence && end_at(&now, now.end, &ended)) {
                if (done == capacity) return SER_E_SPACE;
                out[done++] = ended;
            }
        }
    }
    if (now.held && has_room(&now)) {
        if (done == capacity) return SER_E_SPACE;
        out[done].start = now.last.start;
        out[done++].end = now.last.end + now.padding;
        now.held = 0;
    }
    *s = now;
    *segments = done;
    return SER_OK;
}

ser_status ser_segmenter_finish(ser_segmenter *s, uint64_t samples, ser_segment *out, size_t *segments) {
    size_t done = 0;
    if (!s || !out || !segments) return SER_E_ARGUMENT;
    *segments = 0;
    if (samples > s->position || s->position - samples >= SER_VAD_FRAME) return SER_E_LENGTH;
    if (s->running) done = end_at(s, samples, out);
    if (s->held) {
        out[done].start = s->last.start;
        out[done++].end = least(samples, s->last.end + s->padding);
    }
    s->position = 0;
    s->running = s->ending = s->held = 0;
    *segments = done;
    return SER_OK;
}

uint64_t ser_segmenter_uncertain(const ser_segmenter *s) {
    const uint64_t next = s->running ? s->start : s->position;
    return s->held ? s->last.start : next - least(next, s->padding);
}
