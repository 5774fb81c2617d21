/* Streaming LogMel: a carry buffer for one block of frames, and a kernel that computes several frames at once. */
#include "bits.h"
#include "check.h"
#include "logmel_tables.h"
#include "isa.h"

typedef struct geometry {
    int n_fft, hop, n_mels;
    int radix[5];                /* of the half-length FFT; their product is n_fft / 2 */
    const float *window;         /* [n_fft] */
    const float *twiddle;        /* [2 n_fft] */
    const unsigned char *first;  /* [n_mels] */
    const unsigned char *count;  /* [n_mels] */
    const float *weight;         /* [sum of count] */
} geometry;

static const geometry geometries[] = {
    {64, 32, 26, {4, 4, 2, 0, 0}, window_64, twiddle_64, mel_first_64, mel_count_64, mel_weight_64},
    {144, 72, 58, {4, 2, 3, 3, 0}, window_144, twiddle_144, mel_first_144, mel_count_144, mel_weight_144},
};

/* ---- the kernel, compiled once per instruction set ------------------------------------------------------------ */

#define NAME(x) x##_plain
#define TARGET
#define LANES 1
#define vec float
#define ivec int32_t
#define AS_INT(v) int_of(v)
#define AS_FLOAT(v) float_of(v)
#define TO_FLOAT(v) ((float)(v))
#define AT_LEAST(v, c) ((v) > (c) ? (v) : (c))
#include "logmel_kernel.h"
#undef AS_INT
#undef AS_FLOAT
#undef TO_FLOAT
#undef AT_LEAST

#if SER_WITH_VECTORS

typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec4 __attribute__((vector_size(16)));
typedef float vec8 __attribute__((vector_size(32)));
typedef int32_t ivec8 __attribute__((vector_size(32)));
typedef float vec16 __attribute__((vector_size(64)));
typedef int32_t ivec16 __attribute__((vector_size(64)));

#define AS_INT(v) ((ivec)(v))
#define AS_FLOAT(v) ((vec)(v))
#define TO_FLOAT(v) __builtin_convertvector(v, vec)
#define AT_LEAST(v, c) \
    ((vec)(((ivec)(v) & (ivec)((v) > (c))) | ((ivec)((vec){0} + (c)) & ~(ivec)((v) > (c)))))

typedef float loose4 __attribute__((vector_size(16), aligned(4), may_alias));
#define LOAD(p) ((vec4) * (const loose4 *)(p))
#define STORE(p, v) (*(loose4 *)(p) = (loose4)(v))
#define JOIN4(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#define JOIN8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define QUARTER(v, b) __builtin_shufflevector(v, v, 4 * (b), 4 * (b) + 1, 4 * (b) + 2, 4 * (b) + 3)
#define STORE_IF(yes, p, v) \
    do { \
        if (yes) STORE(p, v); \
    } while (0)

#define NAME(x) x##_128
#define TARGET
#define LANES 4
#define vec vec4
#define ivec ivec4
#define GATHER(p, s) LOAD(p)
#define SCATTER(p, s, v, n) STORE_IF((n) > 0, p, v)
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#include "logmel_kernel.h"

#if SER_WITH_AVX
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#define LANES 8
#define vec vec8
#define ivec ivec8
#define GATHER(p, s) JOIN4(LOAD(p), LOAD((p) + 4 * (s)))
#define SCATTER(p, s, v, n) \
    do { \
        STORE_IF((n) > 0, p, QUARTER(v, 0)); \
        STORE_IF((n) > 4, (p) + 4 * (s), QUARTER(v, 1)); \
    } while (0)
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#include "logmel_kernel.h"

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f")))
#define LANES 16
#define vec vec16
#define ivec ivec16
#define GATHER(p, s) JOIN8(JOIN4(LOAD(p), LOAD((p) + 4 * (s))), JOIN4(LOAD((p) + 8 * (s)), LOAD((p) + 12 * (s))))
#define SCATTER(p, s, v, n) \
    do { \
        STORE_IF((n) > 0, p, QUARTER(v, 0)); \
        STORE_IF((n) > 4, (p) + 4 * (s), QUARTER(v, 1)); \
        STORE_IF((n) > 8, (p) + 8 * (s), QUARTER(v, 2)); \
        STORE_IF((n) > 12, (p) + 12 * (s), QUARTER(v, 3)); \
    } while (0)
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#include "logmel_kernel.h"
#define MOST_LANES 16
#else
#define MOST_LANES 4
#endif

#else
#define MOST_LANES 1
#endif

/* ---- streaming ------------------------------------------------------------------------------------------------ */

struct ser_logmel {
    const geometry *g;
    void (*block)(const geometry *, const float *, int, void *, float *);
    int lanes;
    float mean, scale;
    uint64_t samples; /* pushed */
    uint64_t frames;  /* written */
    size_t held;      /* floats in carry */
    float *carry;     /* [carry_floats(g)]: the sample before the next frame, that frame, and the samples after it */
    void *work;       /* vec [5 n_fft / 2 + 1 + n_mels] */
};

enum { ALIGNMENT = 64 };

/* Floats to gather before computing a block: one sample before it, `lanes` frames, and one more, because the reflection
 * at the start needs one sample more than the first frame. */
static size_t gathered(const geometry *g, int lanes) {
    return 2 + (size_t)(lanes - 1) * (size_t)g->hop + (size_t)g->n_fft;
}

/* Size of the carry: a gathered block and the padding that finish adds. */
static size_t carry_floats(const geometry *g) { return gathered(g, MOST_LANES) + (size_t)g->n_fft / 2; }

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static const geometry *geometry_of(int n_fft) {
    size_t i;
    for (i = 0; i < sizeof geometries / sizeof *geometries; i++)
        if (geometries[i].n_fft == n_fft) return &geometries[i];
    return NULL;
}

static void rewind_to_start(ser_logmel *s) {
    s->samples = s->frames = 0;
    s->held = 1 + (size_t)s->g->n_fft / 2; /* filled in once there are enough samples to reflect */
}

size_t ser_logmel_size(int n_fft) {
    const geometry *g = geometry_of(n_fft);
    if (!g) return 0;
    return ALIGNMENT + aligned(sizeof(ser_logmel)) + aligned(carry_floats(g) * sizeof(float)) +
           (size_t)(5 * g->n_fft / 2 + 1 + g->n_mels) * MOST_LANES * sizeof(float);
}

ser_status ser_logmel_init(void *memory, size_t bytes, int n_fft, ser_isa isa, ser_logmel **logmel) {
    const geometry *g = geometry_of(n_fft);
    unsigned char *at = memory;
    ser_logmel *s;
    if (!memory || !logmel || !g || bytes < ser_logmel_size(n_fft) || !ser_isa_available(isa)) return SER_E_ARGUMENT;
    memset(memory, 0, ser_logmel_size(n_fft));
    isa = ser_isa_resolve(isa);
    at += (ALIGNMENT - (uintptr_t)at % ALIGNMENT) % ALIGNMENT;
    s = (ser_logmel *)(void *)at;
    at += aligned(sizeof *s);
    s->carry = (float *)(void *)at;
    at += aligned(carry_floats(g) * sizeof(float));
    s->work = at;
    s->g = g;
    s->scale = 1;
    s->block = block_plain;
    s->lanes = 1;
#if SER_WITH_VECTORS
    if (isa == SER_ISA_128) s->block = block_128, s->lanes = 4;
#if SER_WITH_AVX
    if (isa == SER_ISA_AVX2) s->block = block_avx2, s->lanes = 8;
    if (isa == SER_ISA_AVX512) s->block = block_avx512, s->lanes = 16;
#endif
#endif
    rewind_to_start(s);
    *logmel = s;
    return SER_OK;
}

int ser_logmel_hop(const ser_logmel *s) { return s->g->hop; }
int ser_logmel_mels(const ser_logmel *s) { return s->g->n_mels; }

ser_status ser_logmel_normalise(ser_logmel *s, float mean, float scale) {
    if (!s) return SER_E_ARGUMENT;
    if (!ser_all_usable(&mean, 1) || !ser_all_usable(&scale, 1)) return SER_E_VALUE;
    s->mean = mean;
    s->scale = scale;
    return SER_OK;
}

/* Return the number of frames within the first n samples and their reflection at the start. */
static uint64_t complete_frames(const geometry *g, uint64_t n) {
    const uint64_t half = (uint64_t)g->n_fft / 2;
    return n < half + 1 ? 0 : 1 + (n - half) / (uint64_t)g->hop;
}

size_t ser_logmel_ready(const ser_logmel *s, size_t n) {
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

ser_status ser_logmel_push(ser_logmel *s, const float *samples, size_t n, float *out, size_t capacity,
                           size_t *frames) {
    const geometry *g;
    size_t ready, done = 0;
    if (!s || !frames || (n && !samples)) return SER_E_ARGUMENT;
    *frames = 0;
    g = s->g;
    if (!ser_all_usable(samples, n)) return SER_E_VALUE;
    ready = ser_logmel_ready(s, n);
    if (ready > capacity) return SER_E_SPACE;
    if (ready && !out) return SER_E_ARGUMENT;
    while (n) {
        const size_t half = (size_t)g->n_fft / 2, room = gathered(g, s->lanes) - s->held;
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

ser_status ser_logmel_finish(ser_logmel *s, float *out) {
    size_t i, half;
    if (!s) return SER_E_ARGUMENT;
    half = (size_t)s->g->n_fft / 2;
    if (s->samples < half + 1) {
        rewind_to_start(s);
        return SER_E_SHORT;
    }
    if (!out) return SER_E_ARGUMENT;
    for (i = 0; i < half; i++) s->carry[s->held + i] = s->carry[s->held - 2 - i];
    s->held += half;
    write_frames(s, 1, out); /* only one frame remains: hop is half of n_fft */
    rewind_to_start(s);
    return SER_OK;
}

const char *ser_status_text(ser_status status) {
    switch (status) {
    case SER_OK: return "done";
    case SER_E_ARGUMENT: return "invalid argument";
    case SER_E_SHORT: return "too few samples";
    case SER_E_VALUE: return "NaN, infinity or a value out of range";
    case SER_E_SPACE: return "output too small";
    case SER_E_WEIGHTS: return "weights are damaged or not for this network";
    case SER_E_LENGTH: return "number of samples differs from earlier calls";
    }
    return "unknown status";
}
