/* Streaming Wav2Small: rows move to the next layer as soon as it has enough of them, so that memory does not depend on
 * the length of the recording. Kernels (engine.h) compute the rows.
 *
 * The convolutions end in a matrix [13 channels][T tokens][13 mels], which is reinterpreted in memory order as T rows
 * of 169: 13 consecutive cells (channel, token) of 13 mels each. Cell number channel * T + token is in row number / 13,
 * at position number % 13. T is known in advance, so each channel fills its own rows token by token. Rows shared by
 * several channels wait until the end.
 */
#include "check.h"
#include "engine.h"

#include <string.h>

enum { N_FFT = 64, HOP = 32, CHUNK = 512, FRAMES = CHUNK / HOP + 1, ALIGNMENT = 64, CELL = SER_COARSE };
enum { POOLING = 3, MIXING = 8, STAGES = 9 }; /* stages 0 to 2 and 4 to 7 are the convolutions */
enum { STATISTICS, CENTRE, NETWORK, FINISHED };

/* Ring buffer of the input rows of a stage, oldest first. slots: [capacity][row], row in bytes. */
typedef struct ring {
    unsigned char *slots;
    size_t row;
    int capacity, first, have;
} ring;

struct ser_wav2small {
    ser_network network;
    const ser_kernel *kernel;
    ser_statistics statistics;
    ser_logmel *logmel;
    int pass;
    uint64_t samples, pushed; /* in the recording, in this pass */
    uint64_t tokens, token;   /* number in the recording, index of the next one */
    double sum[SER_MELS];
    float mean[SER_MELS];     /* subtracted from each frame */
    float frames[FRAMES + 1][SER_MELS];
    ring rings[STAGES];
    int shared[SER_CHANNELS + 1]; /* index in borders of the row that the border before a channel splits, or -1 */
    int waiting, queued;
    unsigned char *own;      /* [13][SER_ROW]: the row that each channel is filling */
    unsigned char *borders;  /* [12][SER_ROW]: the rows that channels share */
    unsigned char *queue;    /* [SER_BATCH][SER_ROW]: complete rows */
    unsigned char *mixed;    /* [13 channels][13 mels] */
    unsigned char *dummy;    /* a row for output that is discarded */
    void *packed, *work;
    ser_pool *pool;
};

/* ---- memory --------------------------------------------------------------------------------------------------- */

static const ser_kernel *kernel_of(const ser_network *n, ser_isa isa) {
    const int int8 = (n->flags & SER_INT8) != 0;
#if SER_WITH_AVX
    isa = ser_isa_resolve(isa);
    if (isa == SER_ISA_AVX512) {
        if (!int8) return &ser_kernel_avx512;
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512vnni"))
            return &ser_kernel_vnni;
    }
    if ((isa == SER_ISA_AVX512 || isa == SER_ISA_AVX2) && ser_isa_available(SER_ISA_AVX2))
        return int8 ? &ser_kernel_int8_avx2 : &ser_kernel_avx2;
    if (isa != SER_ISA_PLAIN) return int8 ? &ser_kernel_int8_128 : &ser_kernel_128;
#elif SER_WITH_VECTORS
    if (isa != SER_ISA_PLAIN && !int8) return &ser_kernel_128;
#endif
    (void)isa;
    return int8 ? &ser_kernel_plain_int8 : &ser_kernel_plain;
}

/* Return the number of cells in an input row of a stage. */
static int cells(int stage) { return stage <= POOLING ? 1 + SER_MELS + 1 : 1 + SER_COARSE + 2; }

/* Reserve `bytes` at offset *at of base and advance *at. With base NULL, only count. */
static void *part(unsigned char *base, size_t *at, size_t bytes) {
    void *here = base ? base + *at : NULL;
    *at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return here;
}

/* Lay out the engine and everything it points to, contiguously from base. Return the number of bytes. With base NULL,
 * only count. */
static size_t lay_out(unsigned char *base, const ser_kernel *k, ser_wav2small *e, void **logmel) {
    size_t at = 0, largest = 0;
    int stage;
    ser_wav2small nowhere;
    part(base, &at, sizeof *e);
    if (!base) e = &nowhere;
    *logmel = part(base, &at, ser_logmel_size(N_FFT));
    for (stage = 0; stage < STAGES; stage++) {
        ring *r = &e->rings[stage];
        r->row = stage ? (size_t)(cells(stage) * k->cell * k->bytes) : cells(stage) * sizeof(float);
        r->row = (r->row + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        r->capacity = 2 * k->group + 1 > 3 ? 2 * k->group + 1 : 3;
        r->slots = part(base, &at, r->row * (size_t)r->capacity);
        if (r->row > largest) largest = r->row;
    }
    e->own = part(base, &at, (size_t)(SER_CHANNELS * SER_ROW * k->bytes));
    e->borders = part(base, &at, (size_t)((SER_CHANNELS - 1) * SER_ROW * k->bytes));
    e->queue = part(base, &at, (size_t)(SER_BATCH * SER_ROW * k->bytes));
    e->mixed = part(base, &at, (size_t)(SER_WIDTH * k->bytes));
    e->dummy = part(base, &at, largest);
    e->pool = part(base, &at, sizeof *e->pool);
    e->packed = part(base, &at, k->packed);
    e->work = part(base, &at, k->work);
    return at;
}

size_t ser_wav2small_size(const void *weights, size_t bytes, ser_isa isa) {
    ser_network network;
    void *logmel;
    if (!ser_isa_available(isa) || ser_network_open(weights, bytes, &network) != SER_OK) return 0;
    return ALIGNMENT + lay_out(NULL, kernel_of(&network, isa), NULL, &logmel);
}

ser_status ser_wav2small_init(void *memory, size_t size, const void *weights, size_t bytes, ser_isa isa,
                              ser_wav2small **engine) {
    unsigned char *at = memory;
    const ser_kernel *kernel;
    ser_network network;
    ser_wav2small *e;
    ser_status status;
    void *logmel;
    if (!memory || !engine || !ser_isa_available(isa)) return SER_E_ARGUMENT;
    status = ser_network_open(weights, bytes, &network);
    if (status != SER_OK) return status;
    kernel = kernel_of(&network, isa);
    if (size < ALIGNMENT + lay_out(NULL, kernel, NULL, &logmel)) return SER_E_ARGUMENT;
    at += (ALIGNMENT - (uintptr_t)at % ALIGNMENT) % ALIGNMENT;
    e = (ser_wav2small *)(void *)at;
    memset(e, 0, lay_out(NULL, kernel, NULL, &logmel));
    lay_out(at, kernel, e, &logmel);
    e->network = network;
    e->kernel = kernel;
    status = ser_logmel_init(logmel, ser_logmel_size(N_FFT), N_FFT, isa, &e->logmel);
    if (status != SER_OK) return status;
    if (kernel->packed) kernel->pack(&e->network, e->packed);
    ser_wav2small_reset(e);
    *engine = e;
    return SER_OK;
}

int ser_wav2small_outputs(const ser_wav2small *e) { return e->network.outputs; }

int ser_wav2small_passes(const ser_wav2small *e) { return e->network.flags & SER_CENTRE ? 3 : 2; }

/* ---- rows from stage to stage --------------------------------------------------------------------------------- */

static void *slot(const ring *r, int i) { return r->slots + (size_t)((r->first + i) % r->capacity) * r->row; }

static void append_zeros(ring *r) { memset(slot(r, r->have++), 0, r->row); }

static void drop(ring *r, int rows) {
    r->first = (r->first + rows) % r->capacity;
    r->have -= rows;
}

static void run_queue(ser_wav2small *e) {
    if (e->queued) e->kernel->tokens(&e->network, e->packed, e->work, e->queue, e->queued, e->pool);
    e->queued = 0;
}

static void enqueue(ser_wav2small *e, const unsigned char *row) {
    const size_t bytes = (size_t)(SER_ROW * e->kernel->bytes);
    memcpy(e->queue + (size_t)e->queued * bytes, row, bytes);
    if (++e->queued == SER_BATCH) run_queue(e);
}

/* Copy a token's cells [13 channels][13 mels] to the rows that they belong to. */
static void place(ser_wav2small *e, const unsigned char *token) {
    const size_t cell = (size_t)(CELL * e->kernel->bytes), row = (size_t)(SER_ROW * e->kernel->bytes);
    int c;
    for (c = 0; c < SER_CHANNELS; c++, token += cell) {
        const uint64_t start = (uint64_t)c * e->tokens, number = start + e->token, of_row = number % CELL;
        const int before = number - of_row < start, after = number - of_row + CELL > start + e->tokens;
        unsigned char *to = before  ? e->borders + (size_t)e->shared[c] * row
                            : after ? e->borders + (size_t)e->shared[c + 1] * row
                                    : e->own + (size_t)c * row;
        memcpy(to + of_row * cell, token, cell);
        if (!before && !after && of_row == CELL - 1) enqueue(e, to);
    }
    e->token++;
}

/* Run a stage as far as its input rows allow, then the following stages. Keep only the first `wanted` rows of each
 * group. */
static void advance(ser_wav2small *e, int stage, int wanted) {
    const ser_kernel *k = e->kernel;
    ring *r = &e->rings[stage], *next = r + 1;
    int i;
    if (stage == MIXING) {
        for (; r->have; drop(r, 1)) {
            k->mix(&e->network, e->packed, slot(r, 0), e->mixed);
            place(e, e->mixed);
        }
        return;
    }
    if (stage == POOLING) {
        for (; r->have >= 3; drop(r, 2)) {
            const void *in[3];
            for (i = 0; i < 3; i++) in[i] = slot(r, i);
            k->shrink(in, slot(next, next->have++));
        }
        advance(e, stage + 1, k->group);
        return;
    }
    while (r->have >= k->group + 2) {
        const void *in[SER_MOST_GROUP + 2];
        void *out[SER_MOST_GROUP];
        for (i = 0; i < k->group + 2; i++) in[i] = slot(r, i);
        for (i = 0; i < k->group; i++) out[i] = i < wanted ? slot(next, next->have + i) : e->dummy;
        if (stage == 0)
            k->first(&e->network, e->packed, (const float *const *)in, out);
        else
            k->convolve(&e->network, e->packed, e->work, stage < POOLING ? stage : stage - 1,
                        stage < POOLING ? SER_MELS : SER_COARSE, in, out);
        next->have += wanted;
        drop(r, k->group);
        advance(e, stage + 1, k->group);
    }
}

static void take_frame(ser_wav2small *e, const float *frame) {
    ring *r = &e->rings[0];
    float *row = (float *)slot(r, r->have++) + 1;
    int m;
    for (m = 0; m < SER_MELS; m++) row[m] = frame[m] - e->mean[m];
    advance(e, 0, e->kernel->group);
}

/* Pad the end of each stage with rows of zeros and compute the remaining rows. */
static void run_out(ser_wav2small *e) {
    const int group = e->kernel->group;
    int stage;
    for (stage = 0; stage < MIXING; stage++) {
        ring *r = &e->rings[stage];
        append_zeros(r);
        advance(e, stage, group);
        if (stage != POOLING && r->have > 2) {
            const int wanted = r->have - 2;
            while (r->have < group + 2) append_zeros(r);
            advance(e, stage, wanted);
        }
    }
    for (stage = 0; stage < e->waiting; stage++)
        enqueue(e, e->borders + (size_t)(stage * SER_ROW * e->kernel->bytes));
    run_queue(e);
}

/* ---- the recording -------------------------------------------------------------------------------------------- */

void ser_wav2small_reset(ser_wav2small *e) {
    ser_logmel_finish(e->logmel, e->frames[0]); /* discards buffered samples */
    ser_statistics_init(&e->statistics);
    e->pass = STATISTICS;
    e->samples = e->pushed = 0;
}

/* Set the network's state to that before the first frame. */
static void begin_network(ser_wav2small *e) {
    const uint64_t frames = 1 + e->samples / HOP;
    int i, c;
    e->tokens = (frames - 1) / 2 + 1;
    e->token = 0;
    e->waiting = e->queued = 0;
    for (c = 0; c <= SER_CHANNELS; c++) {
        const uint64_t border = (uint64_t)c * e->tokens;
        e->shared[c] = -1;
        if (border % CELL == 0) continue;
        if (c && e->shared[c - 1] >= 0 && (border - e->tokens) / CELL == border / CELL)
            e->shared[c] = e->shared[c - 1];
        else
            e->shared[c] = e->waiting++;
    }
    for (i = 0; i < STAGES; i++) {
        e->rings[i].first = e->rings[i].have = 0;
        if (i != MIXING) append_zeros(&e->rings[i]);
    }
    for (i = 0; i < SER_ROW; i++) {
        e->pool->largest[i] = -1e30f;
        e->pool->sum[i] = e->pool->weighted[i] = 0;
    }
}

static void take_frames(ser_wav2small *e, size_t frames) {
    size_t i;
    int m;
    for (i = 0; i < frames; i++) {
        if (e->pass == NETWORK)
            take_frame(e, e->frames[i]);
        else
            for (m = 0; m < SER_MELS; m++) e->sum[m] += e->frames[i][m];
    }
}

ser_status ser_wav2small_push(ser_wav2small *e, const float *samples, size_t n) {
    if (!e || (n && !samples) || e->pass == FINISHED) return SER_E_ARGUMENT;
    if (e->pass == STATISTICS) {
        const ser_status status = ser_statistics_push(&e->statistics, samples, n);
        if (status == SER_OK) e->samples += n;
        return status;
    }
    if (n > e->samples - e->pushed) return SER_E_LENGTH;
    if (!ser_all_usable(samples, n)) return SER_E_VALUE; /* check all before using any */
    while (n) {
        const size_t take = n < CHUNK ? n : CHUNK;
        size_t frames;
        const ser_status status = ser_logmel_push(e->logmel, samples, take, e->frames[0], FRAMES + 1, &frames);
        if (status != SER_OK) return status;
        take_frames(e, frames);
        e->pushed += take;
        samples += take;
        n -= take;
    }
    return SER_OK;
}

ser_status ser_wav2small_next(ser_wav2small *e) {
    ser_status status;
    float mean, scale;
    int m;
    if (!e || e->pass == FINISHED) return SER_E_ARGUMENT;
    if (e->pass == STATISTICS) {
        if (e->samples < N_FFT / 2 + 1) return SER_E_SHORT;
        status = ser_statistics_finish(&e->statistics, &mean, &scale);
        if (status == SER_OK) status = ser_logmel_normalise(e->logmel, mean, scale);
        if (status != SER_OK) return status;
        memset(e->sum, 0, sizeof e->sum);
        memset(e->mean, 0, sizeof e->mean);
        e->pass = e->network.flags & SER_CENTRE ? CENTRE : NETWORK;
    } else {
        if (e->pushed != e->samples) return SER_E_LENGTH;
        status = ser_logmel_finish(e->logmel, e->frames[0]);
        if (status != SER_OK) return status;
        take_frames(e, 1);
        if (e->pass == NETWORK) {
            run_out(e);
            e->pass = FINISHED;
            return SER_OK;
        }
        for (m = 0; m < SER_MELS; m++) e->mean[m] = (float)(e->sum[m] / (double)(1 + e->samples / HOP));
        e->pass = NETWORK;
    }
    e->pushed = 0;
    if (e->pass == NETWORK) begin_network(e);
    return SER_OK;
}

ser_status ser_wav2small_finish(ser_wav2small *e, float *out) {
    const ser_network *n;
    int o, j;
    if (!e || !out || e->pass != FINISHED) return SER_E_ARGUMENT;
    n = &e->network;
    for (o = 0; o < n->outputs; o++) {
        double sum = n->head_bias[o];
        for (j = 0; j < SER_WIDTH; j++) sum += n->head[SER_WIDTH * o + j] * (e->pool->weighted[ser_place(j)] / e->pool->sum[ser_place(j)]);
        out[o] = (float)sum;
    }
    if (n->flags & SER_SOFTMAX) {
        float largest = out[0], sum = 0;
        for (o = 1; o < n->outputs; o++) largest = out[o] > largest ? out[o] : largest;
        for (o = 0; o < n->outputs; o++) sum += out[o] = ser_exp(out[o] - largest);
        for (o = 0; o < n->outputs; o++) out[o] /= sum;
    }
    ser_wav2small_reset(e);
    return SER_OK;
}

ser_status ser_wav2small_run(ser_wav2small *e, const float *samples, size_t n, float *out) {
    ser_status status = SER_OK;
    int pass;
    if (!e) return SER_E_ARGUMENT;
    ser_wav2small_reset(e);
    for (pass = ser_wav2small_passes(e); pass && status == SER_OK; pass--) {
        status = ser_wav2small_push(e, samples, n);
        if (status == SER_OK) status = ser_wav2small_next(e);
    }
    if (status == SER_OK) status = ser_wav2small_finish(e, out);
    if (status != SER_OK) ser_wav2small_reset(e);
    return status;
}
