/* The engine's contract as sertool.h states it, from C: `test_engine ISA CONTAINER [briefly]`, ISA as for
 * test_frontend, CONTAINER a file of containers.py; `briefly` leaves out what takes long under valgrind.
 *
 * Outputs are compared with the network computed all at once, in double, from the description in sertool.h. Every
 * buffer has exactly the size that is asked for.
 */
#include "contract.h"
#include "sertool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { C = 13, MELS = 26, WIDTH = 169, MOST = 16, LONG = 3001 };

static ser_isa isa;
static unsigned char *weights; /* [weight_bytes] */
static size_t weight_bytes;
static int outputs, centred, softmax, int8; /* what the container says */

/* Noise whose level goes up and down, so that tokens differ. */
static float *voice(size_t n, uint32_t seed) {
    float *x = noise(n, seed);
    size_t i;
    for (i = 1; i < n; i++) x[i] = x[i] * (float)(1.001 + sin((double)i / 150)) + 0.7f * x[i - 1];
    return x;
}

static ser_wav2small *make(void **memory, ser_isa which) {
    const size_t size = ser_wav2small_size(weights, weight_bytes, which);
    ser_wav2small *e = NULL;
    *memory = allocate(size);
    memset(*memory, CANARY, size); /* init must not count on zeros */
    CHECK(ser_wav2small_init(*memory, size, weights, weight_bytes, which, &e) == SER_OK);
    CHECK(e != NULL);
    return e;
}

static int same(const float *a, const float *b) { return memcmp(a, b, (size_t)outputs * sizeof *a) == 0; }

static int close_to(const float *a, const float *b) {
    int o;
    for (o = 0; o < outputs; o++)
        if (!(fabs((double)a[o] - b[o]) <= 1e-4 * (fabs((double)b[o]) > 1 ? fabs((double)b[o]) : 1))) return 0;
    return 1;
}

static int finite(const float *out) {
    int o;
    for (o = 0; o < outputs; o++)
        if (!(fabs((double)out[o]) < 1e30)) return 0;
    return 1;
}

/* One pass in pushes of `piece`, each a copy that is gone after the call. */
static void pass(ser_wav2small *e, const float *x, size_t n, size_t piece) {
    size_t at;
    for (at = 0; at < n; at += piece) {
        const size_t now = n - at < piece ? n - at : piece;
        float *copy = allocate(now * sizeof *copy);
        memcpy(copy, x + at, now * sizeof *copy);
        CHECK(ser_wav2small_push(e, copy, now) == SER_OK);
        free(copy);
    }
}

static void in_pieces(ser_wav2small *e, const float *x, size_t n, size_t piece, float *out) {
    int p;
    for (p = ser_wav2small_passes(e); p; p--) {
        pass(e, x, n, piece);
        CHECK(ser_wav2small_next(e) == SER_OK);
    }
    CHECK(ser_wav2small_finish(e, out) == SER_OK);
}

/* ---- the container -------------------------------------------------------------------------------------------- */

static uint32_t u32_at(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(unsigned char *p, uint32_t x) {
    int i;
    for (i = 0; i < 4; i++) p[i] = (unsigned char)(x >> 8 * i);
}

static uint32_t crc32(uint32_t crc, const unsigned char *p, size_t n) {
    int bit;
    for (crc = ~crc; n; n--)
        for (crc ^= *p++, bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    return ~crc;
}

static unsigned char *entry_of(unsigned char *container, const char *name) {
    uint32_t i;
    for (i = 0; i < u32_at(container + 12); i++)
        if (strncmp((char *)container + 32 + 64 * i, name, 24) == 0) return container + 32 + 64 * i;
    return NULL;
}

static const void *tensor(const char *layer, const char *what) {
    char name[48];
    const unsigned char *entry;
    snprintf(name, sizeof name, "%s%s", layer, what);
    entry = entry_of(weights, name);
    return entry ? weights + u32_at(entry + 48) : NULL;
}

/* Make the sums right again: that of an entry's data, unless entry is NULL, and that of the header. */
static void sum_up(unsigned char *container, unsigned char *entry) {
    uint32_t crc;
    if (entry) put_u32(entry + 56, crc32(0, container + u32_at(entry + 48), u32_at(entry + 52)));
    crc = crc32(0, container, 28);
    put_u32(container + 28, crc32(crc, container + 32, 64 * u32_at(container + 12)));
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    const unsigned char *about;
    CHECK(file && fseek(file, 0, SEEK_END) == 0);
    weight_bytes = (size_t)ftell(file);
    weights = allocate(weight_bytes);
    rewind(file);
    CHECK(fread(weights, 1, weight_bytes, file) == weight_bytes);
    fclose(file);
    about = tensor("network", "");
    CHECK(about != NULL);
    outputs = (int)u32_at(about + 4);
    centred = (u32_at(about + 8) & 1) != 0;
    softmax = (u32_at(about + 8) & 2) != 0;
    int8 = (u32_at(about + 8) & 4) != 0;
}

/* ---- the network, all at once ---------------------------------------------------------------------------------- */

/* Frames of the normalised recording, by the plain front-end that test_frontend.c looks after: [1 + n / 32][26]. */
static float *features(const float *x, size_t n) {
    const size_t frames = 1 + n / 32, bytes = ser_logmel_size(64);
    void *memory = allocate(bytes);
    float *all = allocate(frames * MELS * sizeof *all), mean, scale;
    ser_statistics statistics;
    ser_logmel *logmel;
    size_t got, t;
    int m;
    ser_statistics_init(&statistics);
    CHECK(ser_statistics_push(&statistics, x, n) == SER_OK && ser_statistics_finish(&statistics, &mean, &scale) == SER_OK);
    CHECK(ser_logmel_init(memory, bytes, 64, SER_ISA_PLAIN, &logmel) == SER_OK);
    CHECK(ser_logmel_normalise(logmel, mean, scale) == SER_OK);
    CHECK(ser_logmel_push(logmel, x, n, all, frames, &got) == SER_OK && got == frames - 1);
    CHECK(ser_logmel_finish(logmel, all + got * MELS) == SER_OK);
    free(memory);
    for (m = 0; centred && m < MELS; m++) {
        double sum = 0;
        for (t = 0; t < frames; t++) sum += all[t * MELS + (size_t)m];
        for (t = 0; t < frames; t++) all[t * MELS + (size_t)m] -= (float)(sum / (double)frames);
    }
    return all;
}

/* Weights as [taps][taps][in][out], the caller frees them; an int8 layer has the output first. */
static double *matrix(const char *name, int quantised, int taps, int in, int out) {
    const void *w = tensor(name, ".weight");
    const int n = taps * taps * in;
    double *m = allocate((size_t)(n * out) * sizeof *m);
    int i, o;
    for (i = 0; i < n; i++)
        for (o = 0; o < out; o++)
            m[i * out + o] = quantised ? ((const int8_t *)w)[o * n + i] : (double)((const float *)w)[i * out + o];
    return m;
}

/* What an int8 layer makes of its sum. */
static double quantised_value(double sum, float scale, float bias, float least, float most) {
    const float x = (float)sum * scale + bias, kept = x < least ? least : x > most ? most : x;
    return trunc((double)(kept < 0 ? kept - 0.5f : kept + 0.5f));
}

/* 3x3 convolution and ReLU, zeros around: x [frames][mels][in] to [frames][mels][13], the caller frees it. */
static double *convolution(int number, const double *x, int frames, int mels, int in) {
    const int quantised = int8 && number > 1;
    double *y = allocate((size_t)(frames * mels * C) * sizeof *y), *w;
    const float *scale, *bias;
    char name[] = "conv1";
    int f, m, o, t, d, i;
    name[4] = (char)('0' + number);
    w = matrix(name, quantised, 3, in, C), scale = tensor(name, ".scale"), bias = tensor(name, ".bias");
    for (f = 0; f < frames; f++)
        for (m = 0; m < mels; m++, y += C) {
            for (o = 0; o < C; o++) y[o] = quantised ? 0 : (double)bias[o];
            for (t = 0; t < 3; t++)
                for (d = 0; d < 3; d++)
                    for (i = 0; i < in; i++) {
                        const int inside = f + t >= 1 && f + t <= frames && m + d >= 1 && m + d <= mels;
                        const double v = inside ? x[((f + t - 1) * mels + m + d - 1) * in + i] : 0;
                        const double *row = w + ((t * 3 + d) * in + i) * C;
                        if (int8 && !quantised) /* rounded to 8 bits next: the sum of floats decides */
                            for (o = 0; o < C; o++) y[o] = (double)((float)y[o] + (float)v * (float)row[o]);
                        else
                            for (o = 0; o < C; o++) y[o] += v * row[o];
                    }
            for (o = 0; o < C; o++) {
                if (quantised) y[o] = quantised_value(y[o], scale[o], bias[o], 0, 255);
                else if (int8) y[o] = quantised_value(0, 0, (float)y[o], 0, 255);
                else y[o] = y[o] > 0 ? y[o] : 0;
            }
        }
    free(w);
    return y - frames * mels * C;
}

static void reference(const float *samples, size_t n, float *out) {
    const int frames = (int)(1 + n / 32), tokens = (frames - 1) / 2 + 1;
    float *mel = features(samples, n);
    double *x = allocate((size_t)(frames * MELS) * sizeof *x), *y, *z, all[MOST], sum = 0, largest = -1e300;
    double *mix = matrix("mix", int8, 1, C, C), *sof = matrix("sof", int8, 1, WIDTH, WIDTH),
           *lin = matrix("lin", int8, 1, WIDTH, WIDTH);
    const float *sof_scale = tensor("sof", ".scale"), *lin_scale = tensor("lin", ".scale");
    const float *head = tensor("head", ".weight"), *head_bias = tensor("head", ".bias"), *mix_scale = tensor("mix", ".scale"), *mix_bias = tensor("mix", ".bias");
    int i, j, o, f, m, t, d;

    for (i = 0; i < frames * MELS; i++) x[i] = (double)mel[i];
    free(mel);
    for (i = 1; i <= 3; i++, free(x), x = y) y = convolution(i, x, frames, MELS, i > 1 ? C : 1);
    y = allocate((size_t)(tokens * C * C) * sizeof *y);
    for (f = 0; f < tokens; f++)
        for (m = 0; m < C; m++)
            for (o = 0; o < C; o++) {
                double most = 0;
                for (t = 2 * f - 1; t <= 2 * f + 1; t++)
                    for (d = 2 * m - 1; d <= 2 * m + 1; d++)
                        if (t >= 0 && t < frames && d >= 0 && d < MELS && x[(t * MELS + d) * C + o] > most)
                            most = x[(t * MELS + d) * C + o];
                y[(f * C + m) * C + o] = most;
            }
    free(x);
    x = y;
    for (i = 4; i <= 7; i++, free(x), x = y) y = convolution(i, x, tokens, C, C);
    z = allocate((size_t)(C * tokens * C) * sizeof *z); /* [13 channels][tokens][13 mels], read as [tokens][169] */
    for (o = 0; o < C; o++)
        for (f = 0; f < tokens; f++)
            for (m = 0; m < C; m++) {
                double v = int8 ? 0 : (double)mix_bias[o];
                for (i = 0; i < C; i++) v += x[(f * C + m) * C + i] * mix[C * i + o];
                z[(o * tokens + f) * C + m] = int8 ? quantised_value(v, mix_scale[o], mix_bias[o], -127, 127) : v;
            }
    free(x);

    for (o = 0; o < outputs; o++) all[o] = (double)head_bias[o];
    x = allocate((size_t)tokens * sizeof *x);
    y = allocate((size_t)tokens * sizeof *y);
    for (j = 0; j < WIDTH; j++) {
        double total = 0, weighted = 0, most = -1e300;
        for (f = 0; f < tokens; f++) {
            x[f] = y[f] = 0;
            for (i = 0; i < WIDTH; i++) {
                x[f] += z[f * WIDTH + i] * sof[WIDTH * i + j];
                y[f] += z[f * WIDTH + i] * lin[WIDTH * i + j];
            }
            x[f] *= int8 ? (double)sof_scale[j] : 1;
            y[f] *= int8 ? (double)lin_scale[j] : 1;
            most = x[f] > most ? x[f] : most;
        }
        for (f = 0; f < tokens; f++) {
            total += exp(x[f] - most);
            weighted += exp(x[f] - most) * y[f];
        }
        for (o = 0; o < outputs; o++) all[o] += (double)head[o * WIDTH + j] * weighted / total;
    }
    free(y);
    free(x);
    free(z);
    free(lin);
    free(sof);
    free(mix);
    for (o = 0; o < outputs; o++) largest = all[o] > largest ? all[o] : largest;
    for (o = 0; o < outputs; o++) sum += exp(all[o] - largest);
    for (o = 0; o < outputs; o++) out[o] = (float)(softmax ? exp(all[o] - largest) / sum : all[o]);
}

/* ---- the contract ---------------------------------------------------------------------------------------------- */

static void sizes(void) {
    const size_t size = ser_wav2small_size(weights, weight_bytes, isa);
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    CHECK(size > 0 && size < 512 * 1024);
    CHECK(ser_wav2small_outputs(e) == outputs && ser_wav2small_passes(e) == (centred ? 3 : 2));
    CHECK((unsigned char *)e >= (unsigned char *)memory && (unsigned char *)e < (unsigned char *)memory + size);
    free(memory);
}

static void wrong_arguments(void) {
    const size_t size = ser_wav2small_size(weights, weight_bytes, isa);
    unsigned char *memory = allocate(size), *odd = allocate(weight_bytes + 3);
    float *x = noise(100, 1), out[MOST], expected[MOST];
    ser_wav2small *e = NULL;
    size_t i;

    memset(memory, CANARY, size);
    CHECK(ser_wav2small_init(memory, size - 1, weights, weight_bytes, isa, &e) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_init(memory, 0, weights, weight_bytes, isa, &e) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_init(NULL, size, weights, weight_bytes, isa, &e) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_init(memory, size, NULL, weight_bytes, isa, &e) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_init(memory, size, weights, weight_bytes, (ser_isa)5, &e) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_init(memory, size, weights, weight_bytes, isa, NULL) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_size(NULL, weight_bytes, isa) == 0);
    CHECK(ser_wav2small_size(weights, weight_bytes, (ser_isa)5) == 0);
    for (i = 1; i < sizeof(float); i++) {
        memcpy(odd + i, weights, weight_bytes);
        CHECK(ser_wav2small_size(odd + i, weight_bytes, isa) == 0);
        CHECK(ser_wav2small_init(memory, size, odd + i, weight_bytes, isa, &e) == SER_E_ARGUMENT);
    }
    CHECK(e == NULL && all_canaries(memory, size)); /* a refused init touches nothing */

    CHECK(ser_wav2small_init(memory, size, weights, weight_bytes, isa, &e) == SER_OK);
    CHECK(ser_wav2small_push(NULL, x, 100) == SER_E_ARGUMENT && ser_wav2small_push(e, NULL, 100) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_next(NULL) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_finish(NULL, out) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_run(NULL, x, 100, out) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_run(e, NULL, 100, out) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_run(e, x, 100, NULL) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_run(e, NULL, 0, out) == SER_E_SHORT);
    CHECK(ser_wav2small_run(e, x, 100, expected) == SER_OK);
    CHECK(ser_wav2small_push(e, NULL, 0) == SER_OK); /* nothing, at the beginning of a pass */
    in_pieces(e, x, 100, 40, out);
    CHECK(same(out, expected));
    free(odd);
    free(x);
    free(memory);
}

static void must_refuse(const unsigned char *container, size_t bytes, const char *what, size_t where) {
    unsigned char memory[64] = {CANARY};
    ser_wav2small *e = NULL;
    if (ser_wav2small_init(memory, SIZE_MAX, container, bytes, isa, &e) != SER_E_WEIGHTS || e || memory[0] != CANARY) {
        fprintf(stderr, "a container with another %s (%lu) is taken\n", what, (unsigned long)where);
        exit(1);
    }
}

static void damaged_containers(void) {
    const uint32_t tensors = u32_at(weights + 12);
    const size_t head = 32 + 64 * tensors, all = weight_bytes;
    const size_t cuts[] = {0, 1, 7, 8, 12, 31, 32, 95, 96, head - 1, head, head + 64, all / 2, all - 1, all + 1};
    unsigned char *copy = allocate(all);
    size_t at, i;

    memcpy(copy, weights, all);
    for (at = 0; at < head; at++) {
        copy[at] ^= (unsigned char)(1 << at % 8);
        must_refuse(copy, all, "byte", at);
        copy[at] = weights[at];
    }
    for (i = 0; i <= tensors; i++) { /* the last one is the text */
        const unsigned char *entry = weights + 32 + 64 * i;
        const uint32_t from = u32_at(i < tensors ? entry + 48 : weights + 16);
        const uint32_t bytes = u32_at(i < tensors ? entry + 52 : weights + 20);
        at = from + (i % 3 == 0 ? 0 : i % 3 == 1 ? bytes / 2 : bytes - 1);
        copy[at] ^= (unsigned char)(1 << i % 8);
        must_refuse(copy, all, "byte", at);
        CHECK(ser_wav2small_size(copy, all, isa) == 0);
        copy[at] = weights[at];
    }
    free(copy);
    for (i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        copy = allocate(cuts[i]);
        memcpy(copy, weights, cuts[i] < all ? cuts[i] : all);
        must_refuse(copy, cuts[i], "length", cuts[i]);
        free(copy);
    }
}

/* Containers whose sums are right and whose contents are not. */
static void wrong_containers(void) {
    static const char *const names[] = {"network", "conv1.weight", "conv1.bias", "conv7.weight", "mix.weight",
                                        "sof.weight", "lin.weight", "head.weight", "head.bias", "conv2.scale",
                                        "lin.scale"};
    static const uint32_t about[][2] = {{0, 2}, {0, 0}, {4, 0}, {4, 17}, {4, 0xffffffffu}, {8, 8}, {8, 0x80000000u}};
    const uint32_t all = (uint32_t)weight_bytes;
    unsigned char *copy = allocate(all), *entry;
    size_t i, field, j;
    memcpy(copy, weights, all);
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        entry = entry_of(copy, names[i]);
        CHECK((entry != NULL) == (i < 9 || int8));
        if (!entry) continue;
        for (field = 24; field < 56; field += 4) { /* type, shape, offset, bytes; the shape says the rank already */
            const uint32_t was = u32_at(entry + field), others[] = {was + 1, was - 1, 0x80000000u, 0xfffffff0u};
            for (j = 0; field != 28 && j < 4; j++) {
                put_u32(entry + field, others[j]);
                if (field >= 48 && u32_at(entry + 48) < all && u32_at(entry + 52) <= all - u32_at(entry + 48))
                    sum_up(copy, entry);
                else
                    sum_up(copy, NULL);
                must_refuse(copy, all, names[i], field);
            }
            memcpy(entry, weights + (entry - copy), 64);
        }
        entry[0] ^= 32; /* another name: there is no such tensor */
        sum_up(copy, NULL);
        must_refuse(copy, all, names[i], 0);
        entry[0] ^= 32;
    }
    entry = entry_of(copy, "network");
    for (i = 0; i <= sizeof about / sizeof *about; i++) { /* the last one: float, and says int8, or the reverse */
        unsigned char *data = copy + u32_at(entry + 48);
        if (i < sizeof about / sizeof *about) put_u32(data + about[i][0], about[i][1]);
        else data[8] ^= 4;
        sum_up(copy, entry);
        must_refuse(copy, all, "network", i);
        memcpy(data, weights + (data - copy), 16);
    }
    memcpy(copy, weights, all);
    put_u32(copy + 12, 65);
    sum_up(copy, NULL);
    must_refuse(copy, all, "number of tensors", 65);
    for (i = 0; i < 2; i++) { /* a text that begins or ends beyond the end */
        memcpy(copy, weights, all);
        put_u32(copy + 16 + 4 * i, all + 1);
        sum_up(copy, NULL);
        must_refuse(copy, all, "text", i);
    }
    memcpy(copy, weights, all); /* and one without a text is fine */
    memset(copy + 16, 0, 12);
    sum_up(copy, NULL);
    CHECK(ser_wav2small_size(copy, all, isa) == ser_wav2small_size(weights, all, isa));
    free(copy);
}

/* Every number of tokens up to 30: each way in which rows of 13 cells and channels of so many tokens meet. */
static void outputs_are_the_networks(void) {
    void *memory, *plain_memory;
    ser_wav2small *e = make(&memory, isa), *plain = make(&plain_memory, SER_ISA_PLAIN);
    size_t i, n;
    for (i = 0; i <= 31; i++) {
        float *x, out[MOST], plain_out[MOST], expected[MOST];
        n = i == 0 ? 33 : i == 31 ? LONG : 64 * i + 5 * i % 64;
        x = voice(n, (uint32_t)n);
        reference(x, n, expected);
        CHECK(ser_wav2small_run(e, x, n, out) == SER_OK && finite(out));
        CHECK(ser_wav2small_run(plain, x, n, plain_out) == SER_OK);
        CHECK(close_to(out, expected) && close_to(plain_out, expected));
        CHECK(int8 ? same(out, plain_out) : close_to(out, plain_out));
        free(x);
    }
    free(memory);
    free(plain_memory);
}

static void cut_independence(void) {
    static const size_t pieces[] = {1, 31, 32, 33, 100, 511, 512, 513}, lengths[] = {33, 64, 700};
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    size_t i, j;
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        float *x = voice(lengths[i], (uint32_t)i), whole[MOST], out[MOST];
        CHECK(ser_wav2small_run(e, x, lengths[i], whole) == SER_OK);
        for (j = 0; j < sizeof pieces / sizeof *pieces; j++) {
            in_pieces(e, x, lengths[i], pieces[j], out); /* the same engine: finish made it ready again */
            CHECK(same(out, whole));
        }
        free(x);
    }
    free(memory);
}

static void misaligned_memory_and_canaries(void) {
    const size_t size = ser_wav2small_size(weights, weight_bytes, isa), n = 200;
    unsigned char *buffer = allocate(size + 64 + 2 * GUARD), *raw = allocate((size_t)outputs * sizeof(float) + 2 * GUARD);
    float *x = voice(n, 3), expected[MOST], *out = (float *)(void *)(raw + GUARD);
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    size_t offset;
    CHECK(ser_wav2small_run(e, x, n, expected) == SER_OK);
    for (offset = 0; offset < 64; offset += 3) {
        unsigned char *at = buffer + GUARD + offset;
        memset(buffer, CANARY, size + 64 + 2 * GUARD);
        memset(raw, CANARY, (size_t)outputs * sizeof(float) + 2 * GUARD);
        CHECK(ser_wav2small_init(at, size, weights, weight_bytes, isa, &e) == SER_OK);
        CHECK(ser_wav2small_run(e, x, n, out) == SER_OK && same(out, expected));
        CHECK(all_canaries(buffer, GUARD + offset) && all_canaries(at + size, GUARD + 64 - offset));
        CHECK(all_canaries(raw, GUARD) && all_canaries(raw + GUARD + (size_t)outputs * sizeof(float), GUARD));
    }
    free(memory);
    free(x);
    free(raw);
    free(buffer);
}

static void refused_pushes_take_nothing(void) {
    const float bad[] = {NAN, INFINITY, -INFINITY, 1.1e12f};
    const size_t n = 1300;
    float *x = voice(n, 5), *broken = allocate(n * sizeof *broken), expected[MOST], out[MOST];
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    int p, i;
    CHECK(ser_wav2small_run(e, x, n, expected) == SER_OK);
    for (p = ser_wav2small_passes(e); p; p--) {
        CHECK(ser_wav2small_push(e, x, 100) == SER_OK);
        for (i = 0; i < 4; i++) { /* in the first, and in the last of the 512s that the engine works on */
            memcpy(broken, x, n * sizeof *broken);
            broken[i % 2 ? 1199 : 101] = bad[i];
            CHECK(ser_wav2small_push(e, broken + 100, 1200) == SER_E_VALUE);
        }
        CHECK(ser_wav2small_push(e, x + 100, 1200) == SER_OK);
        CHECK(ser_wav2small_next(e) == SER_OK);
    }
    CHECK(ser_wav2small_finish(e, out) == SER_OK && same(out, expected));
    memcpy(broken, x, n * sizeof *broken);
    broken[1299] = NAN;
    CHECK(ser_wav2small_run(e, broken, n, out) == SER_E_VALUE);
    CHECK(ser_wav2small_run(e, x, n, out) == SER_OK && same(out, expected));
    free(broken);
    free(x);
    free(memory);
}

static void lengths(void) {
    const size_t n = 600;
    float *x = voice(n + 1, 6), expected[MOST], out[MOST], embedding[169];
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    int p, i;
    CHECK(ser_wav2small_run(e, x, 32, out) == SER_E_SHORT);
    CHECK(ser_wav2small_run(e, x, n, expected) == SER_OK);
    CHECK(ser_wav2small_next(e) == SER_E_SHORT);
    CHECK(ser_wav2small_push(e, x, 32) == SER_OK && ser_wav2small_next(e) == SER_E_SHORT);
    CHECK(ser_wav2small_push(e, x + 32, n - 32) == SER_OK); /* too short so far */
    CHECK(ser_wav2small_next(e) == SER_OK);
    for (p = ser_wav2small_passes(e) - 1; p; p--) {
        CHECK(ser_wav2small_finish(e, out) == SER_E_ARGUMENT); /* before the end */
        CHECK(ser_wav2small_embedding(e, embedding) == SER_E_ARGUMENT);
        CHECK(ser_wav2small_next(e) == SER_E_LENGTH);
        CHECK(ser_wav2small_push(e, x, n + 1) == SER_E_LENGTH);
        CHECK(ser_wav2small_push(e, x, n - 1) == SER_OK);
        CHECK(ser_wav2small_next(e) == SER_E_LENGTH);
        CHECK(ser_wav2small_push(e, x + n - 1, 2) == SER_E_LENGTH);
        CHECK(ser_wav2small_push(e, x + n - 1, 1) == SER_OK);
        CHECK(ser_wav2small_push(e, x, 1) == SER_E_LENGTH);
        CHECK(ser_wav2small_push(e, x, SIZE_MAX / sizeof *x) == SER_E_LENGTH);
        CHECK(ser_wav2small_next(e) == SER_OK);
    }
    CHECK(ser_wav2small_push(e, x, 1) == SER_E_ARGUMENT && ser_wav2small_next(e) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_finish(e, NULL) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_embedding(e, NULL) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_embedding(NULL, embedding) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_embedding(e, embedding) == SER_OK); /* it changes nothing */
    for (i = 0; i < 169; i++) CHECK(isfinite(embedding[i]));
    CHECK(ser_wav2small_finish(e, out) == SER_OK && same(out, expected));
    CHECK(ser_wav2small_embedding(e, embedding) == SER_E_ARGUMENT);
    CHECK(ser_wav2small_finish(e, out) == SER_E_ARGUMENT);
    free(x);
    free(memory);
}

/* A recording given up after so many calls leaves nothing behind. */
static void reset_at_any_moment(void) {
    const size_t n = 440;
    float *x = voice(n, 7), *other = voice(300, 8), expected[MOST], out[MOST];
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    int calls, done;
    size_t at;
    CHECK(ser_wav2small_run(e, x, n, expected) == SER_OK);
    for (calls = 0; calls <= 3 * ser_wav2small_passes(e); calls++) {
        for (done = 0, at = 0; done < calls; done++, at = at < 300 ? at + 150 : 0)
            CHECK((at < 300 ? ser_wav2small_push(e, other + at, 150) : ser_wav2small_next(e)) == SER_OK);
        if (calls % 2) ser_wav2small_reset(e); /* run begins anew by itself */
        CHECK(ser_wav2small_run(e, x, n, out) == SER_OK && same(out, expected));
        for (done = 0, at = 0; done < calls; done++, at = at < 300 ? at + 150 : 0)
            CHECK((at < 300 ? ser_wav2small_push(e, other + at, 150) : ser_wav2small_next(e)) == SER_OK);
        ser_wav2small_reset(e);
        in_pieces(e, x, n, 170, out);
        CHECK(same(out, expected));
    }
    free(other);
    free(x);
    free(memory);
}

static void two_at_once(void) {
    const size_t n = 800, m = 500;
    float *x = voice(n, 9), *y = voice(m, 10), one[MOST], two[MOST], out[MOST];
    void *memory, *other_memory;
    ser_wav2small *e = make(&memory, isa), *other = make(&other_memory, isa);
    int p;
    CHECK(ser_wav2small_run(e, x, n, one) == SER_OK && ser_wav2small_run(e, y, m, two) == SER_OK);
    for (p = ser_wav2small_passes(e); p; p--) {
        pass(e, x, 400, 130);
        pass(other, y, 300, 70);
        pass(e, x + 400, n - 400, 90);
        CHECK(ser_wav2small_next(e) == SER_OK);
        pass(other, y + 300, m - 300, 60);
        CHECK(ser_wav2small_next(other) == SER_OK);
    }
    CHECK(ser_wav2small_finish(other, out) == SER_OK && same(out, two));
    CHECK(ser_wav2small_finish(e, out) == SER_OK && same(out, one));
    free(y);
    free(x);
    free(memory);
    free(other_memory);
}

static void extremes(void) {
    static const float levels[] = {0.0f, 1e-45f, 1e-38f, 1.0f, 1e12f};
    const size_t n = 300;
    float *x = allocate(n * sizeof *x), out[MOST], expected[MOST];
    void *memory;
    ser_wav2small *e = make(&memory, isa);
    size_t i, j;
    int kind, o;
    for (i = 0; i < sizeof levels / sizeof *levels; i++)
        for (kind = 0; kind < 3; kind++) { /* a constant, an alternation, a click */
            double sum = 0;
            for (j = 0; j < n; j++) x[j] = kind == 0 || (kind == 1 && j % 3) || j == 77 ? levels[i] : kind == 1 ? -levels[i] : 0;
            CHECK(ser_wav2small_run(e, x, n, out) == SER_OK && finite(out));
            reference(x, n, expected);
            CHECK(close_to(out, expected));
            for (o = 0; o < outputs; o++) sum += (double)out[o];
            CHECK(!softmax || fabs(sum - 1) < 1e-5);
        }
    free(x);
    free(memory);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"best", "plain", "128", "avx2", "avx512"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if ((argc == 3 || argc == 4) && strcmp(argv[1], names[i]) == 0) break;
    if (i == sizeof names / sizeof *names) {
        fprintf(stderr, "usage: test_engine best|plain|128|avx2|avx512 CONTAINER [briefly]\n");
        return 2;
    }
    isa = (ser_isa)i;
    CHECK(ser_isa_available(isa) == 1);
    load(argv[2]);
    sizes();
    wrong_arguments();
    if (isa == SER_ISA_PLAIN && argc == 3) { /* nothing in it depends on the instruction set */
        damaged_containers();
        wrong_containers();
    }
    refused_pushes_take_nothing();
    lengths();
    two_at_once();
    if (argc == 3) {
        outputs_are_the_networks();
        cut_independence();
        misaligned_memory_and_canaries();
        reset_at_any_moment();
        extremes();
    }
    free(weights);
    printf("%s: all true\n", argv[1]);
    return 0;
}
