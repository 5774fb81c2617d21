/* Streaming voice activity detection: a small recurrent network on LogMel rows, in steps of 20 ms. */
#include "bits.h"
#include "check.h"
#include "isa.h"
#include "vad_tables.h"

enum {
    MELS = 26,
    ROWS = 10,   /* per step */
    FRAMES = 2,  /* per step */
    LATE = 10,   /* output is delayed by this many steps (0.2 s look-ahead) */
    BANDS = 25,  /* without the first mel filter, which covers no FFT bin */
    PADDED = 32, /* BANDS, rounded up to whole vectors */
    SEEN = 2 * BANDS + 2,
    GROUPS = 6,
    GROUPS_WIDE = 16,
    PATTERNS = 16,
    MIXED = 32,
    UNITS = 32,
    CHUNK = 512,                       /* samples per LogMel push: as many rows as LogMel computes at once */
    MOST_ROWS = ROWS + CHUNK / 32 + 1, /* rows waiting for the end of a step, plus those of a chunk */
    BLOCK = 32                         /* samples per block, the unit of freeze detection */
};

/* Samples that span at most four 16-bit steps, such as dithered silence, are flat: they contain no speech. Samples that
 * span at most half a step are frozen. */
#define FLAT (4.0f / 32768)
#define FROZEN (0.5f / 32768)

struct ser_vad {
    void (*step)(ser_vad *, const float *rows);
    ser_logmel *logmel;
    uint64_t samples, rows, frames; /* pushed, computed, written */
    size_t held;                    /* rows waiting for the end of a step */
    int heard;                      /* 1 after the first samples that are not flat */
    float before;                   /* the previous sample, with dither if frozen */
    float low, high;                /* of the current block so far */
    float frame_low, frame_high;    /* of the current frame so far */
    int frozen;                     /* 1 if the last complete block is frozen */
    float middle;                   /* of that block */
    uint64_t flat_frames;           /* 1 bit per started frame, the latest lowest: 1 if flat so far */
    float top;                      /* tracked maximum of the level, dB */
    float floor[BANDS];             /* tracked minimum of each band, dB */
    float hidden[UNITS];
    float waiting[MOST_ROWS * MELS + PADDED];
};

static float between(float low, float x, float high) { return x < low ? low : x > high ? high : x; }

/* Return 1 if frame number `frame`, one of the last 64 or a future one, is flat. Future frames count as flat. */
static int is_flat(const ser_vad *s, uint64_t frame) {
    const uint64_t begun = (s->samples + SER_VAD_FRAME - 1) / SER_VAD_FRAME;
    return frame >= begun || (s->flat_frames >> (begun - 1 - frame) & 1);
}

/* Update floors and top. Floors fall fast and rise by 3 dB/s; the top rises fast and falls by 0.5 dB/s. Both follow the
 * recording level, so that differences from them do not depend on it. Flat samples are ignored. */
static void follow(ser_vad *s, const float *mean, float level) {
    const uint64_t frame = s->rows / ROWS * FRAMES;
    const int silent = is_flat(s, frame) && is_flat(s, frame + 1);
    int i;
    if (!s->heard) {
        for (i = 0; i < BANDS; i++) s->floor[i] = mean[i];
        s->top = level;
    } else if (!silent) {
        for (i = 0; i < BANDS; i++) {
            const float up = mean[i] - s->floor[i];
            s->floor[i] += up < 0 ? 0.3f * up : up < 0.06f ? up : 0.06f;
        }
        level -= s->top;
        s->top += level > 0 ? 0.2f * level : level > -0.01f ? level : -0.01f;
    }
    if (!silent) s->heard = 1;
}

/* ---- the kernel, compiled once per instruction set ------------------------------------------------------------ */

#define NAME(x) x##_plain
#define TARGET
#define LANES 1
#define vec float
#define GET(p) (*(p))
#define PUT(p, v) (*(p) = (v))
#define AS_INT(v) int_of(v)
#define AS_FLOAT(v) float_of(v)
#define AT_LEAST(v, c) ((v) > (c) ? (v) : (c))
#define AT_MOST(v, c) ((v) < (c) ? (v) : (c))
#include "vad_kernel.h"
#undef GET
#undef PUT
#undef AS_INT
#undef AS_FLOAT
#undef AT_LEAST
#undef AT_MOST

#if SER_WITH_VECTORS

#define VECTORS(n) \
    typedef float vec##n __attribute__((vector_size(4 * (n)))); \
    typedef int32_t ivec##n __attribute__((vector_size(4 * (n)))); \
    typedef float loose##n __attribute__((vector_size(4 * (n)), aligned(4), may_alias))
VECTORS(4);
VECTORS(8);
VECTORS(16);

#define GET(p) ((vec) * (const loose *)(p))
#define PUT(p, v) (*(loose *)(p) = (loose)(v))
#define AS_INT(v) ((ivec)(v))
#define AS_FLOAT(v) ((vec)(v))
#define PICK(yes, v, c) ((vec)(((ivec)(v) & (ivec)(yes)) | ((ivec)((vec){0} + (c)) & ~(ivec)(yes))))
#define AT_LEAST(v, c) PICK((v) > (c), v, c)
#define AT_MOST(v, c) PICK((v) < (c), v, c)

#define NAME(x) x##_128
#define TARGET
#define LANES 4
#define vec vec4
#define ivec ivec4
#define loose loose4
#include "vad_kernel.h"
#undef loose

#if SER_WITH_AVX
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#define LANES 8
#define vec vec8
#define ivec ivec8
#define loose loose8
#include "vad_kernel.h"
#undef loose

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f")))
#define LANES 16
#define vec vec16
#define ivec ivec16
#define loose loose16
#include "vad_kernel.h"
#undef loose
#endif

#endif

/* ---- flat samples: zeros, a constant offset, a repeated sample ------------------------------------------------ */

/* Return noise of one 16-bit step for a sample index. The network is not trained on frozen samples and would repeat its
 * previous output, so it gets noise instead. A flat frame has probability 0 whatever the network computes. */
static float dither(uint64_t sample) {
    uint32_t bits = (uint32_t)sample * 0x9e3779b1u;
    bits = (bits ^ bits >> 15) * 0x85ebca6bu;
    bits = (bits ^ bits >> 13) * 0xc2b2ae35u;
    return (float)(int32_t)(bits ^ bits >> 16) * (1.0f / 32768 / 2147483648.0f);
}

/* Update the ranges and flags for samples [n], all within one block. */
static void look(ser_vad *s, const float *samples, size_t n) {
    enum { AT_ONCE = 8 };
    float low[AT_ONCE], high[AT_ONCE];
    size_t i, k;
    for (k = 0; k < AT_ONCE; k++) low[k] = high[k] = samples[0];
    for (i = 0; i + AT_ONCE <= n; i += AT_ONCE)
        for (k = 0; k < AT_ONCE; k++) {
            low[k] = samples[i + k] < low[k] ? samples[i + k] : low[k];
            high[k] = samples[i + k] > high[k] ? samples[i + k] : high[k];
        }
    for (; i < n; i++) {
        low[0] = samples[i] < low[0] ? samples[i] : low[0];
        high[0] = samples[i] > high[0] ? samples[i] : high[0];
    }
    if (s->samples % SER_VAD_FRAME == 0) {
        s->frame_low = s->frame_high = samples[0];
        s->flat_frames <<= 1;
    }
    if (s->samples % BLOCK == 0) s->low = s->high = samples[0];
    for (k = 0; k < AT_ONCE; k++) {
        s->low = low[k] < s->low ? low[k] : s->low;
        s->high = high[k] > s->high ? high[k] : s->high;
    }
    s->frame_low = s->low < s->frame_low ? s->low : s->frame_low;
    s->frame_high = s->high > s->frame_high ? s->high : s->frame_high;
    s->flat_frames = (s->flat_frames & ~(uint64_t)1) | (uint64_t)(s->frame_high - s->frame_low <= FLAT);
    s->samples += n;
    if (s->samples % BLOCK == 0) {
        s->frozen = s->high - s->low <= FROZEN;
        s->middle = 0.5f * (s->low + s->high);
    }
}

/* Compute LogMel's input out [n] for samples [n], all within one block: subtract 0.97 times the previous sample
 * (pre-emphasis) and halve, so that the result stays in the accepted range. After a frozen block, replace samples
 * within FROZEN of its middle by the middle plus noise. */
static void emphasise(ser_vad *s, const float *samples, size_t n, float *out) {
    size_t i;
    if (s->samples == 0) s->before = samples[0];
    if (s->frozen) {
        for (i = 0; i < n; i++) {
            const float off = samples[i] - s->middle;
            const float x = off <= FROZEN && off >= -FROZEN ? s->middle + dither(s->samples + i) : samples[i];
            out[i] = (x - 0.97f * s->before) * 0.5f;
            s->before = x;
        }
    } else {
        out[0] = (samples[0] - 0.97f * s->before) * 0.5f;
        for (i = 1; i < n; i++) out[i] = (samples[i] - 0.97f * samples[i - 1]) * 0.5f;
        s->before = samples[n - 1];
    }
}

/* ---- streaming ------------------------------------------------------------------------------------------------ */

enum { ALIGNMENT = 64 };

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static void rewind_to_start(ser_vad *s) {
    s->samples = s->rows = s->frames = 0;
    s->held = 0;
    s->heard = s->frozen = 0;
    s->flat_frames = 0;
    memset(s->hidden, 0, sizeof s->hidden);
}

size_t ser_vad_size(void) { return ALIGNMENT + aligned(sizeof(ser_vad)) + ser_logmel_size(64); }

ser_status ser_vad_init(void *memory, size_t bytes, ser_isa isa, ser_vad **vad) {
    unsigned char *at = memory;
    ser_vad *s;
    ser_status status;
    if (!memory || !vad || bytes < ser_vad_size() || !ser_isa_available(isa)) return SER_E_ARGUMENT;
    memset(memory, 0, ser_vad_size());
    isa = ser_isa_resolve(isa);
    at += (ALIGNMENT - (uintptr_t)at % ALIGNMENT) % ALIGNMENT;
    s = (ser_vad *)(void *)at;
    status = ser_logmel_init(at + aligned(sizeof *s), ser_logmel_size(64), 64, isa, &s->logmel);
    if (status == SER_OK) status = ser_logmel_normalise(s->logmel, 0, 16384); /* lifts faint noise above its floor */
    if (status != SER_OK) return status;
    s->step = step_plain;
#if SER_WITH_VECTORS
    if (isa == SER_ISA_128) s->step = step_128;
#if SER_WITH_AVX
    if (isa == SER_ISA_AVX2) s->step = step_avx2;
    if (isa == SER_ISA_AVX512) s->step = step_avx512;
#endif
#endif
    rewind_to_start(s);
    *vad = s;
    return SER_OK;
}

/* Return the number of probabilities available after `rows` rows. */
static uint64_t told(uint64_t rows) {
    const uint64_t steps = rows / ROWS;
    return steps > LATE ? (steps - LATE) * FRAMES : 0;
}

/* Run one step on rows [ROWS][MELS]. Write the probabilities that become available to out [capacity] from index `done`
 * on; return the new number of probabilities in out. */
static size_t advance(ser_vad *s, const float *rows, float *out, size_t done, size_t capacity) {
    size_t count, frame;
    int i;
    s->step(s, rows);
    s->rows += ROWS;
    count = (size_t)(told(s->rows) - s->frames);
    if (count > capacity - done) count = capacity - done;
    for (frame = 0; frame < count; frame++) {
        float sum = vad_head_bias[frame];
        for (i = 0; i < UNITS; i++) sum += vad_head[frame * UNITS + (size_t)i] * s->hidden[i];
        out[done + frame] = is_flat(s, s->frames + frame) ? 0.0f : sigmoid_plain(sum);
    }
    s->frames += count;
    return done + count;
}

size_t ser_vad_ready(const ser_vad *s, size_t n) {
    return (size_t)(told(s->rows + s->held + ser_logmel_ready(s->logmel, n)) - s->frames);
}

ser_status ser_vad_push(ser_vad *s, const float *samples, size_t n, float *out, size_t capacity, size_t *frames) {
    size_t ready, done = 0;
    if (!s || !frames || (n && !samples)) return SER_E_ARGUMENT;
    *frames = 0;
    if (!ser_all_usable(samples, n)) return SER_E_VALUE;
    ready = ser_vad_ready(s, n);
    if (ready > capacity) return SER_E_SPACE;
    if (ready && !out) return SER_E_ARGUMENT;
    while (n) {
        const size_t take = n < CHUNK ? n : CHUNK;
        float emphasised[CHUNK];
        size_t got, used = 0, at, piece;
        ser_status status;
        for (at = 0; at < take; at += piece) {
            piece = BLOCK - (size_t)(s->samples % BLOCK);
            if (piece > take - at) piece = take - at;
            emphasise(s, samples + at, piece, emphasised + at);
            look(s, samples + at, piece);
        }
        status = ser_logmel_push(s->logmel, emphasised, take, s->waiting + s->held * MELS, MOST_ROWS - s->held, &got);
        if (status != SER_OK) return status;
        samples += take;
        n -= take;
        for (s->held += got; s->held >= ROWS; s->held -= ROWS, used += ROWS)
            done = advance(s, s->waiting + used * MELS, out, done, ready);
        memmove(s->waiting, s->waiting + used * MELS, s->held * MELS * sizeof *s->waiting);
    }
    *frames = done;
    return SER_OK;
}

ser_status ser_vad_finish(ser_vad *s, float *out, size_t capacity, size_t *frames) {
    size_t left, done = 0, i;
    float last[MELS];
    if (!s || !frames) return SER_E_ARGUMENT;
    *frames = 0;
    left = (size_t)((s->samples + SER_VAD_FRAME - 1) / SER_VAD_FRAME - s->frames);
    if (left > capacity) return SER_E_SPACE;
    if (left && !out) return SER_E_ARGUMENT;
    if (ser_logmel_finish(s->logmel, last) != SER_OK)
        for (i = 0; i < MELS; i++) last[i] = -100.0f; /* too short for a row: use silence */
    while (done < left) { /* repeat the last row */
        for (; s->held < ROWS; s->held++) memcpy(s->waiting + s->held * MELS, last, sizeof last);
        done = advance(s, s->waiting, out, done, left);
        s->held = 0;
    }
    rewind_to_start(s);
    *frames = done;
    return SER_OK;
}
