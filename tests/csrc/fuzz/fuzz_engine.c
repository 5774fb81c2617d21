/* Calls of ser_wav2small_* in any order with any samples, against a model of what each has to answer, the plain
 * engine, and the same recording in whole pushes.
 *
 * Knows the engine's structure, so that each of its buffers can lie in a block of its own: a sanitizer does not see a
 * byte too far in the caller's one block of memory.
 */
#include "wav2small.h"

#include "fuzz.h"

enum { MOST = 2000 };

typedef struct model {
    int passes, pass;           /* pass == passes: all are over */
    size_t samples, pushed;     /* of the first pass, of this one */
    float *recorded[3];         /* [MOST] */
} model;

static size_t weight_bytes(const ser_network *n, size_t count, int first) {
    return count * (n->flags & SER_INT8 && !first ? 1 : sizeof(float));
}

static void layer_apart(const ser_network *n, ser_layer *l, size_t inputs, size_t out, int first) {
    l->weight = apart(l->weight, weight_bytes(n, inputs * out, first));
    if (l->scale) l->scale = apart(l->scale, out * sizeof(float));
    if (l->bias) l->bias = apart(l->bias, out * sizeof(float));
}

/* The engine for a container, made once: every input starts with a reset of it. */
static ser_wav2small *engine(unsigned kind, ser_isa isa) {
    static ser_wav2small *made[KINDS][5];
    if (!made[kind][isa]) {
        size_t bytes, largest = 0;
        const void *weights = container_of(kind, &bytes);
        const size_t size = ser_wav2small_size(weights, bytes, isa);
        ser_wav2small *e;
        ser_network *n;
        int i;
        CHECK(size > 0 && size < 512 * 1024);
        CHECK(ser_wav2small_init(apart(NULL, size), size, weights, bytes, isa, &e) == SER_OK);
        made[kind][isa] = e = apart(e, sizeof *e);
        for (i = 0; i < STAGES; i++) {
            ser_ring *r = &e->rings[i];
            r->slots = apart(r->slots, r->row * (size_t)r->capacity);
            largest = r->row > largest ? r->row : largest;
        }
        e->own = apart(e->own, (size_t)(SER_CHANNELS * SER_ROW * e->kernel->bytes));
        e->borders = apart(e->borders, (size_t)((SER_CHANNELS - 1) * SER_ROW * e->kernel->bytes));
        e->queue = apart(e->queue, (size_t)(SER_BATCH * SER_ROW * e->kernel->bytes));
        e->mixed = apart(e->mixed, (size_t)(SER_WIDTH * e->kernel->bytes));
        e->dummy = apart(e->dummy, largest);
        e->pool = apart(e->pool, sizeof *e->pool);
        e->packed = apart(e->packed, e->kernel->packed);
        e->work = apart(e->work, e->kernel->work);
        n = &e->network;
        for (i = 0; i < SER_LAYERS; i++)
            layer_apart(n, &n->conv[i], i ? 9 * SER_CHANNELS : 9, SER_CHANNELS, i == 0);
        layer_apart(n, &n->mix, SER_CHANNELS, SER_CHANNELS, 0);
        layer_apart(n, &n->sof, SER_WIDTH, SER_WIDTH, 0);
        layer_apart(n, &n->lin, SER_WIDTH, SER_WIDTH, 0);
        n->head = apart(n->head, (size_t)(n->outputs * SER_WIDTH) * sizeof(float));
        n->head_bias = apart(n->head_bias, (size_t)n->outputs * sizeof(float));
    }
    ser_wav2small_reset(made[kind][isa]);
    return made[kind][isa];
}

static void push(model *m, ser_wav2small *e, ser_wav2small *plain, const float *x, size_t n) {
    ser_status expected = SER_OK;
    if (m->pass == m->passes) expected = SER_E_ARGUMENT;
    else if (m->pass && n > m->samples - m->pushed) expected = SER_E_LENGTH;
    else if (!usable(x, n)) expected = SER_E_VALUE;
    if (m->pushed + n > MOST && expected == SER_OK) return;
    CHECK(ser_wav2small_push(e, x, n) == expected);
    CHECK(ser_wav2small_push(plain, x, n) == expected);
    if (expected != SER_OK) return;
    if (n) memcpy(m->recorded[m->pass] + m->pushed, x, n * sizeof *x);
    m->pushed += n;
    if (!m->pass) m->samples = m->pushed;
}

static void next(model *m, ser_wav2small *e, ser_wav2small *plain) {
    ser_status expected = SER_OK;
    if (m->pass == m->passes) expected = SER_E_ARGUMENT;
    else if (!m->pass && m->samples < 33) expected = SER_E_SHORT;
    else if (m->pass && m->pushed != m->samples) expected = SER_E_LENGTH;
    CHECK(ser_wav2small_next(e) == expected && ser_wav2small_next(plain) == expected);
    if (expected != SER_OK) return;
    m->pass++;
    m->pushed = 0;
}

static void forget(model *m) {
    m->pass = 0;
    m->samples = m->pushed = 0;
}

static void compare(const float *out, const float *plain, int outputs, int int8) {
    int o;
    if (int8) CHECK(memcmp(out, plain, (size_t)outputs * sizeof *out) == 0);
    for (o = 0; o < outputs; o++) {
        CHECK(fabs((double)plain[o]) < 1e30); /* not so of NaN */
        CHECK(fabs((double)out[o] - (double)plain[o]) <= 2e-3 * (1 + fabs((double)plain[o])));
    }
}

static void finish(model *m, ser_wav2small *e, ser_wav2small *plain, int int8) {
    const size_t bytes = (size_t)ser_wav2small_outputs(e) * sizeof(float);
    float *out = apart(NULL, bytes), *other = apart(NULL, bytes);
    int p;
    if (m->pass < m->passes) {
        CHECK(ser_wav2small_finish(e, out) == SER_E_ARGUMENT && ser_wav2small_finish(plain, out) == SER_E_ARGUMENT);
    } else {
        CHECK(ser_wav2small_finish(e, out) == SER_OK && ser_wav2small_finish(plain, other) == SER_OK);
        compare(out, other, ser_wav2small_outputs(e), int8);
        for (p = 0; p < m->passes; p++) {
            CHECK(ser_wav2small_push(e, m->recorded[p], m->samples) == SER_OK);
            CHECK(ser_wav2small_next(e) == SER_OK);
        }
        CHECK(ser_wav2small_finish(e, other) == SER_OK && memcmp(other, out, bytes) == 0);
        forget(m);
    }
    free(other);
    free(out);
}

static void run(model *m, ser_wav2small *e, ser_wav2small *plain, const float *x, size_t n, int int8) {
    const ser_status expected = !usable(x, n) ? SER_E_VALUE : n < 33 ? SER_E_SHORT : SER_OK;
    const size_t bytes = (size_t)ser_wav2small_outputs(e) * sizeof(float);
    float *out = apart(NULL, bytes), *other = apart(NULL, bytes);
    CHECK(ser_wav2small_run(e, x, n, out) == expected && ser_wav2small_run(plain, x, n, other) == expected);
    if (expected == SER_OK) compare(out, other, ser_wav2small_outputs(e), int8);
    forget(m);
    free(other);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    input in = {bytes, n};
    const unsigned kind = take(&in) % KINDS;
    const int int8 = kind >= 2;
    ser_wav2small *e = engine(kind, take_isa(&in)), *plain = engine(kind, SER_ISA_PLAIN);
    model m = {0};
    int p, calls;
    if (e == plain) { /* two of them are needed */
        static ser_wav2small *second[KINDS];
        if (!second[kind]) second[kind] = engine(kind, SER_ISA_BEST);
        e = second[kind];
        ser_wav2small_reset(e);
    }
    m.passes = ser_wav2small_passes(e);
    for (p = 0; p < m.passes; p++) m.recorded[p] = apart(NULL, MOST * sizeof(float));
    for (calls = 0; in.left && calls < 64; calls++) {
        const unsigned call = take(&in) % 8;
        size_t count;
        float *x;
        if (call < 2 || call == 6) { /* samples of this call's own */
            x = take_samples(&in, &count);
            if (call == 6) run(&m, e, plain, x, count, int8);
            else push(&m, e, plain, x, count);
            free(x);
        } else if (call == 2 || call == 7) { /* some or all of what the first pass still had */
            const unsigned some = call == 7 ? 255 : take(&in);
            count = m.pass ? m.samples - m.pushed : 0;
            if (some < 255 && count > 5 * some) count = 5 * some;
            x = apart(m.recorded[0] + m.pushed, count * sizeof *x);
            push(&m, e, plain, x, count);
            free(x);
            if (call == 7) next(&m, e, plain);
        } else if (call == 3) {
            next(&m, e, plain);
        } else if (call == 4) {
            finish(&m, e, plain, int8);
        } else {
            ser_wav2small_reset(e);
            ser_wav2small_reset(plain);
            forget(&m);
        }
    }
    for (p = 0; p < m.passes; p++) free(m.recorded[p]);
    return 0;
}
