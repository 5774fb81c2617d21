/* Streaming Wav2Small: rows move to the next layer as soon as it has enough of them, so that memory does not depend on
 * the length of the recording. Kernels (engine.h) compute the rows.
 *
 * The convolutions end in a matrix [13 channels][T tokens][13 mels], which is reinterpreted in memory order as T rows
 * of 169: 13 consecutive cells (channel, token) of 13 mels each. Cell number channel * T + token is in row number / 13,
 * at position number % 13. T is known in advance, so each channel fills its own rows token by token. Rows shared by
 * several channels wait until the end.
 */
#include "check.h"
#include "linkage.h"
#include "wav2small.h"

#include <string.h>

/* ---- rows from stage to stage --------------------------------------------------------------------------------- */

static void *slot(const ser_ring *r, int i) { return r->slots + (size_t)((r->first + i) % r->capacity) * r->row; }

static void append_zeros(ser_ring *r) { memset(slot(r, r->have++), 0, r->row); }

static void drop(ser_ring *r, int rows) {
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
    ser_ring *r = &e->rings[stage], *next = r + 1;
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
    ser_ring *r = &e->rings[0];
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
        ser_ring *r = &e->rings[stage];
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

SER_LINKAGE void ser_wav2small_reset(ser_wav2small *e) {
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

SER_LINKAGE ser_status ser_wav2small_push(ser_wav2small *e, const float *samples, size_t n) {
    if (!e || (n && !samples) || e->pass == FINISHED) return SER_E_ARGUMENT;
    if (e->pass == STATISTICS) {
        const ser_status status = ser_statistics_push(&e->statistics, samples, n);
        if (status == SER_OK) e->samples += n;
        return status;
    }
    if (n > e->samples - e->pushed) return SER_E_LENGTH;
    if (!ser_all_usable(samples, n)) return SER_E_VALUE; /* check all before using any */
    while (n) {
        const size_t take = n < SER_CHUNK ? n : SER_CHUNK;
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

SER_LINKAGE ser_status ser_wav2small_next(ser_wav2small *e) {
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

/* Return channel j of the pooled tokens, without lin's bias, which is folded into the head's. */
static double pooled(const ser_pool *pool, int j) {
    const int at = ser_place(j);
    return pool->weighted[at] / pool->sum[at];
}

SER_LINKAGE ser_status ser_wav2small_embedding(const ser_wav2small *e, float *out) {
    int j;
    if (!e || !out || e->pass != FINISHED) return SER_E_ARGUMENT;
    for (j = 0; j < SER_WIDTH; j++)
        out[j] = (float)(pooled(e->pool, j) + (e->network.lin.bias ? e->network.lin.bias[j] : 0.0));
    return SER_OK;
}

SER_LINKAGE ser_status ser_wav2small_finish(ser_wav2small *e, float *out) {
    const ser_network *n;
    int o, j;
    if (!e || !out || e->pass != FINISHED) return SER_E_ARGUMENT;
    n = &e->network;
    for (o = 0; o < n->outputs; o++) {
        double sum = n->head_bias[o];
        for (j = 0; j < SER_WIDTH; j++) sum += n->head[SER_WIDTH * o + j] * pooled(e->pool, j);
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

SER_LINKAGE int ser_wav2small_passes(const ser_wav2small *e) { return e->network.flags & SER_CENTRE ? 3 : 2; }

SER_LINKAGE ser_status ser_wav2small_run(ser_wav2small *e, const float *samples, size_t n, float *out) {
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
