/* The front-end's contract as sertool.h states it, from C: `test_frontend ISA` with ISA plain, 128, avx2 or avx512.
 *
 * Says what failed and exits 1. Every buffer has exactly the size that sertool.h asks for, so that a sanitizer or
 * valgrind sees a byte too far; canaries see it without them.
 */
#include "contract.h"
#include "sertool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 3001 };

static ser_isa isa;
static int n_fft;

static size_t frames_of(const ser_logmel *s, size_t n) { return 1 + n / (size_t)ser_logmel_hop(s); }

/* LogMel of samples [n] in pushes of `piece`, every output exactly as large as ser_logmel_ready says:
 * [frames][n_mels], the caller frees it. */
static float *in_pieces(ser_logmel *s, const float *samples, size_t n, size_t piece) {
    const size_t mels = (size_t)ser_logmel_mels(s), total = frames_of(s, n);
    float *all = allocate(total * mels * sizeof *all);
    size_t at = 0, done = 0, got = 99;
    float last[64];
    while (at < n) {
        const size_t now = n - at < piece ? n - at : piece, ready = ser_logmel_ready(s, now);
        float *out = ready ? allocate(ready * mels * sizeof *out) : NULL;
        float *copy = allocate(now * sizeof *copy); /* gone after the call: "read only during the call" */
        memcpy(copy, samples + at, now * sizeof *copy);
        CHECK(ser_logmel_push(s, copy, now, out, ready, &got) == SER_OK);
        CHECK(got == ready && done + got <= total);
        if (got) memcpy(all + done * mels, out, got * mels * sizeof *out);
        free(copy);
        free(out);
        done += got;
        at += now;
    }
    CHECK(ser_logmel_finish(s, last) == SER_OK);
    CHECK(done + 1 == total);
    memcpy(all + done * mels, last, mels * sizeof *last);
    return all;
}

static ser_logmel *make(void **memory, ser_isa which) {
    const size_t bytes = ser_logmel_size(n_fft);
    ser_logmel *s = NULL;
    *memory = allocate(bytes);
    memset(*memory, CANARY, bytes); /* init must not count on zeros */
    CHECK(ser_logmel_init(*memory, bytes, n_fft, which, &s) == SER_OK);
    CHECK(s != NULL);
    return s;
}

static void sizes(void) {
    void *memory;
    ser_logmel *s = make(&memory, isa);
    CHECK(ser_logmel_size(n_fft) > 0 && ser_logmel_size(n_fft) < 65536);
    CHECK(ser_logmel_hop(s) == n_fft / 2);
    CHECK(ser_logmel_mels(s) == (n_fft == 64 ? 26 : 58));
    CHECK((unsigned char *)s >= (unsigned char *)memory);
    CHECK((unsigned char *)s < (unsigned char *)memory + ser_logmel_size(n_fft));
    free(memory);
}

static void wrong_arguments(void) {
    const size_t bytes = ser_logmel_size(n_fft);
    static const int unknown[] = {0, 1, -64, 63, 65, 128, 143, 512};
    unsigned char *memory = allocate(bytes);
    float *x = noise(100, 1), out[4 * 64];
    ser_logmel *s = NULL;
    size_t i, got = 7;

    for (i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        CHECK(ser_logmel_size(unknown[i]) == 0);
        CHECK(ser_logmel_init(memory, bytes, unknown[i], isa, &s) == SER_E_ARGUMENT);
    }
    memset(memory, CANARY, bytes);
    CHECK(ser_logmel_init(memory, bytes - 1, n_fft, isa, &s) == SER_E_ARGUMENT);
    CHECK(ser_logmel_init(memory, 0, n_fft, isa, &s) == SER_E_ARGUMENT);
    CHECK(ser_logmel_init(memory, bytes, n_fft, (ser_isa)5, &s) == SER_E_ARGUMENT);
    CHECK(ser_logmel_init(NULL, bytes, n_fft, isa, &s) == SER_E_ARGUMENT);
    CHECK(ser_logmel_init(memory, bytes, n_fft, isa, NULL) == SER_E_ARGUMENT);
    CHECK(s == NULL && all_canaries(memory, bytes)); /* a refused init touches nothing */

    CHECK(ser_logmel_init(memory, bytes, n_fft, isa, &s) == SER_OK);
    CHECK(ser_logmel_push(NULL, x, 100, out, 4, &got) == SER_E_ARGUMENT);
    CHECK(ser_logmel_push(s, NULL, 100, out, 4, &got) == SER_E_ARGUMENT);
    CHECK(ser_logmel_push(s, x, 100, out, 4, NULL) == SER_E_ARGUMENT);
    CHECK(ser_logmel_push(s, x, 100, NULL, 4, &got) == SER_E_ARGUMENT);
    CHECK(ser_logmel_push(s, NULL, 0, NULL, 0, &got) == SER_OK && got == 0);
    CHECK(ser_logmel_push(s, x, 100, out, 4, &got) == SER_OK && got > 0); /* nothing was taken before */
    CHECK(ser_logmel_finish(NULL, out) == SER_E_ARGUMENT);
    CHECK(ser_logmel_finish(s, NULL) == SER_E_ARGUMENT);
    CHECK(ser_logmel_finish(s, out) == SER_OK);
    free(x);
    free(memory);
}

static void status_texts(void) {
    int i, j;
    for (i = 0; i <= SER_E_SPACE; i++) {
        CHECK(strlen(ser_status_text((ser_status)i)) > 0);
        for (j = 0; j < i; j++) CHECK(strcmp(ser_status_text((ser_status)i), ser_status_text((ser_status)j)) != 0);
    }
    CHECK(ser_status_text((ser_status)7) != NULL);
}

static void cut_independence(void) {
    static const size_t pieces[] = {1, 2, 31, 32, 33, 64, 71, 72, 73, 97, 512, 545, 546, 1225, 1226, 1300};
    const size_t shortest = (size_t)n_fft / 2 + 1, lengths[] = {shortest, shortest + 1, (size_t)n_fft, 1000, LONG};
    void *memory, *plain_memory;
    ser_logmel *s = make(&memory, isa), *plain = make(&plain_memory, SER_ISA_PLAIN);
    size_t i, j;
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const size_t n = lengths[i], bytes = frames_of(s, n) * (size_t)ser_logmel_mels(s) * sizeof(float);
        float *x = noise(n, (uint32_t)n), *whole = in_pieces(s, x, n, n), *reference = in_pieces(plain, x, n, n);
        CHECK(memcmp(whole, reference, bytes) == 0);
        for (j = 0; j < sizeof pieces / sizeof *pieces; j++) {
            float *cut = in_pieces(s, x, n, pieces[j]); /* the same object: finish made it ready again */
            CHECK(memcmp(cut, whole, bytes) == 0);
            free(cut);
        }
        free(x);
        free(whole);
        free(reference);
    }
    free(memory);
    free(plain_memory);
}

static void misaligned_memory_and_canaries(void) {
    const size_t bytes = ser_logmel_size(n_fft), n = 700;
    unsigned char *buffer = allocate(bytes + 64 + 2 * GUARD);
    void *memory;
    ser_logmel *aligned = make(&memory, isa);
    float *x = noise(n, 3), *expected = in_pieces(aligned, x, n, n);
    const size_t out_bytes = frames_of(aligned, n) * (size_t)ser_logmel_mels(aligned) * sizeof(float);
    size_t offset;
    for (offset = 0; offset < 64; offset++) {
        unsigned char *at = buffer + GUARD + offset;
        ser_logmel *s = NULL;
        float *got;
        memset(buffer, CANARY, bytes + 64 + 2 * GUARD);
        CHECK(ser_logmel_init(at, bytes, n_fft, isa, &s) == SER_OK);
        got = in_pieces(s, x, n, 150);
        CHECK(memcmp(got, expected, out_bytes) == 0);
        CHECK(all_canaries(buffer, GUARD + offset));
        CHECK(all_canaries(at + bytes, GUARD + 64 - offset));
        free(got);
    }
    free(expected);
    free(x);
    free(memory);
    free(buffer);
}

static void output_canaries(void) {
    const size_t n = LONG;
    void *memory;
    ser_logmel *s = make(&memory, isa);
    const size_t mels = (size_t)ser_logmel_mels(s), hop = (size_t)ser_logmel_hop(s);
    float *x = noise(n, 4);
    size_t frames;
    /* Every number of frames up to two of the widest blocks, so that every last, partly used block is seen. */
    for (frames = 1; frames <= 33; frames++) {
        const size_t take = (size_t)n_fft / 2 + 1 + (frames - 1) * hop, bytes = frames * mels * sizeof(float);
        unsigned char *raw = allocate(bytes + 2 * GUARD);
        float last[64];
        size_t got;
        memset(raw, CANARY, bytes + 2 * GUARD);
        CHECK(take <= n && ser_logmel_ready(s, take) == frames);
        CHECK(ser_logmel_push(s, x, take, (float *)(void *)(raw + GUARD), frames, &got) == SER_OK && got == frames);
        CHECK(all_canaries(raw, GUARD) && all_canaries(raw + GUARD + bytes, GUARD));
        CHECK(ser_logmel_finish(s, last) == SER_OK);
        free(raw);
    }
    free(x);
    free(memory);
}

static void refused_pushes_take_nothing(void) {
    const size_t n = 1151; /* one less than a multiple of both hops: a sample too many would give a frame more */
    void *memory;
    ser_logmel *s = make(&memory, isa);
    const size_t mels = (size_t)ser_logmel_mels(s), bytes = frames_of(s, n) * mels * sizeof(float);
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e13f, -1.1e12f};
    float *x = noise(n, 5), *expected = in_pieces(s, x, n, n), *got = allocate(bytes), *broken = allocate(n * sizeof *x);
    size_t first, rest, none = 7, i;

    CHECK(ser_logmel_push(s, x, 400, got, n, &first) == SER_OK && first > 0);
    CHECK(ser_logmel_ready(s, 751) > 1);
    CHECK(ser_logmel_push(s, x + 400, 751, got + first * mels, ser_logmel_ready(s, 751) - 1, &none) == SER_E_SPACE);
    CHECK(none == 0);
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(broken, x, n * sizeof *x);
        broken[i * 249] = bad[i]; /* 0, 249, ... 996 */
        none = 7;
        CHECK(ser_logmel_push(s, broken, n, got + first * mels, n, &none) == SER_E_VALUE && none == 0);
    }
    CHECK(ser_logmel_push(s, x + 400, 751, got + first * mels, ser_logmel_ready(s, 751), &rest) == SER_OK);
    CHECK(ser_logmel_finish(s, got + (first + rest) * mels) == SER_OK);
    CHECK((first + rest + 1) * mels * sizeof(float) == bytes && memcmp(got, expected, bytes) == 0);
    free(broken);
    free(got);
    free(expected);
    free(x);
    free(memory);
}

static void too_short(void) {
    const size_t n = (size_t)n_fft / 2;
    void *memory;
    ser_logmel *s = make(&memory, isa);
    float *x = noise(n + 1, 6), out[4 * 64];
    size_t got = 7;
    CHECK(ser_logmel_finish(s, out) == SER_E_SHORT);
    CHECK(ser_logmel_ready(s, n) == 0 && ser_logmel_ready(s, n + 1) == 1);
    CHECK(ser_logmel_push(s, x, n, NULL, 0, &got) == SER_OK && got == 0);
    CHECK(ser_logmel_finish(s, out) == SER_E_SHORT);
    CHECK(ser_logmel_ready(s, n) == 0); /* the short one is forgotten */
    CHECK(ser_logmel_push(s, x, n + 1, out, 1, &got) == SER_OK && got == 1);
    CHECK(ser_logmel_finish(s, out) == SER_OK);
    free(x);
    free(memory);
}

static void extremes(void) {
    void *memory;
    ser_logmel *s = make(&memory, isa);
    const float levels[] = {0.0f, 1e-45f, 1e-38f, 1e12f, -1e12f};
    float x[300];
    size_t i, j;
    for (i = 0; i < sizeof levels / sizeof *levels; i++) {
        float *got;
        for (j = 0; j < 300; j++) x[j] = j % 3 ? levels[i] : -levels[i];
        got = in_pieces(s, x, 300, 300);
        for (j = 0; j < frames_of(s, 300) * (size_t)ser_logmel_mels(s); j++)
            CHECK(got[j] >= -100.0f && got[j] < 400.0f); /* false for NaN as well */
        free(got);
    }
    free(memory);
}

static void statistics(void) {
    static const size_t pieces[] = {1, 3, 7, 8, 9, 100};
    float *x = noise(LONG, 8), mean = 7, scale = 7, broken[3] = {1, NAN, 1};
    ser_statistics whole, cut;
    double sum = 0, square = 0;
    size_t i, at;

    for (i = 0; i < LONG; i++) sum += (double)x[i];
    for (i = 0; i < LONG; i++) square += ((double)x[i] - sum / LONG) * ((double)x[i] - sum / LONG);
    ser_statistics_init(&whole);
    CHECK(ser_statistics_finish(&whole, &mean, &scale) == SER_E_SHORT);
    CHECK(ser_statistics_push(&whole, NULL, 0) == SER_OK);
    CHECK(ser_statistics_finish(&whole, &mean, &scale) == SER_E_SHORT);
    CHECK(ser_statistics_push(&whole, NULL, 1) == SER_E_ARGUMENT);
    CHECK(ser_statistics_push(NULL, x, 1) == SER_E_ARGUMENT);
    CHECK(ser_statistics_push(&whole, broken, 3) == SER_E_VALUE);
    CHECK(ser_statistics_push(&whole, x, LONG) == SER_OK);
    CHECK(ser_statistics_push(&whole, broken, 3) == SER_E_VALUE);
    CHECK(ser_statistics_finish(NULL, &mean, &scale) == SER_E_ARGUMENT);
    CHECK(ser_statistics_finish(&whole, NULL, &scale) == SER_E_ARGUMENT);
    CHECK(ser_statistics_finish(&whole, &mean, NULL) == SER_E_ARGUMENT);
    CHECK(ser_statistics_finish(&whole, &mean, &scale) == SER_OK);
    CHECK(fabs((double)mean - sum / LONG) <= 1e-7 * fabs(sum / LONG));
    CHECK(fabs((double)scale * sqrt(square / LONG + 1e-7) - 1) <= 1e-7);
    for (i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        float other_mean, other_scale;
        ser_statistics_init(&cut);
        for (at = 0; at < LONG; at += pieces[i])
            CHECK(ser_statistics_push(&cut, x + at, LONG - at < pieces[i] ? LONG - at : pieces[i]) == SER_OK);
        CHECK(ser_statistics_finish(&cut, &other_mean, &other_scale) == SER_OK);
        CHECK(memcmp(&other_mean, &mean, sizeof mean) == 0 && memcmp(&other_scale, &scale, sizeof scale) == 0);
        CHECK(memcmp(cut.sum, whole.sum, sizeof cut.sum) == 0); /* rounded to float, a wrong lane would not show */
        CHECK(memcmp(cut.square, whole.square, sizeof cut.square) == 0 && cut.samples == whole.samples);
    }
    free(x);
}

/* Segments of probabilities [n] in pushes of `piece`, each into exactly as much memory as the contract asks for:
 * [*found], the caller frees it. */
static ser_segment *segments_in_pieces(ser_segmenter *s, const float *p, size_t n, size_t piece, size_t *found) {
    ser_segment *all = allocate((n / 2 + 3) * sizeof *all);
    size_t at = 0, got = 99;
    *found = 0;
    while (at < n) {
        const size_t now = n - at < piece ? n - at : piece, most = now / 2 + 2;
        ser_segment *out = allocate(most * sizeof *out);
        float *copy = allocate(now * sizeof *copy);
        const uint64_t uncertain = ser_segmenter_uncertain(s);
        memcpy(copy, p + at, now * sizeof *copy);
        CHECK(ser_segmenter_push(s, copy, now, out, most, &got) == SER_OK && got <= most);
        CHECK(got == 0 || out[0].start >= uncertain);
        memcpy(all + *found, out, got * sizeof *out);
        *found += got;
        free(copy);
        free(out);
        at += now;
    }
    CHECK(ser_segmenter_finish(s, 160 * (uint64_t)n - 9, all + *found, &got) == SER_OK && got <= 2);
    *found += got;
    for (at = 0; at < *found; at++) {
        CHECK(all[at].start < all[at].end && all[at].end <= 160 * (uint64_t)n - 9);
        CHECK(at == 0 || all[at - 1].end <= all[at].start);
    }
    return all;
}

static void segments(void) {
    static const size_t pieces[] = {1, 2, 3, 7, 50, 1000, LONG};
    static const double wrong[] = {-0.01, 1.01e9, NAN, INFINITY};
    static const float no_probability[] = {-0.001f, 1.001f, NAN, INFINITY};
    const ser_vad_parameters defaults = ser_vad_parameters_default();
    const ser_vad_parameters restless = {0.5, 0.5, 0, 0, 0}, padded = {0.6, 0.4, 0.02, 0.015, 0.2};
    const ser_vad_parameters settings[] = {defaults, restless, padded};
    float *p = noise(LONG, 10);
    ser_segmenter s, before;
    size_t i, j, got = 7;

    CHECK(defaults.threshold == 0.5 && defaults.lower == 0.35 && defaults.shortest_speech_s == 0.25);
    CHECK(defaults.shortest_silence_s == 0.1 && defaults.padding_s == 0.03);
    memset(&s, CANARY, sizeof s);
    before = s;
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (j = 0; j < 5; j++) {
            double values[] = {0.5, 0.35, 0.25, 0.1, 0.03};
            ser_vad_parameters given;
            values[j] = wrong[i];
            memcpy(&given, values, sizeof given);
            CHECK(ser_segmenter_init(&s, &given) == SER_E_ARGUMENT);
        }
    CHECK(ser_segmenter_init(&s, NULL) == SER_E_ARGUMENT && ser_segmenter_init(NULL, &defaults) == SER_E_ARGUMENT);
    CHECK(memcmp(&s, &before, sizeof s) == 0); /* a refused init touches nothing */

    for (i = 0; i < LONG; i++) p[i] = (i / 40 % 2 ? 0.7f : 0.3f) + 0.6f * p[i]; /* 0 to 1 */
    for (j = 0; j < sizeof settings / sizeof *settings; j++) {
        size_t number, found;
        ser_segment *whole;
        CHECK(ser_segmenter_init(&s, &settings[j]) == SER_OK);
        whole = segments_in_pieces(&s, p, LONG, LONG, &number);
        CHECK(number > 5);
        for (i = 0; i < sizeof pieces / sizeof *pieces; i++) { /* the same object: finish made it ready again */
            ser_segment *cut = segments_in_pieces(&s, p, LONG, pieces[i], &found);
            CHECK(found == number && memcmp(cut, whole, number * sizeof *cut) == 0);
            free(cut);
        }
        free(whole);
    }

    CHECK(ser_segmenter_init(&s, &restless) == SER_OK);
    CHECK(ser_segmenter_push(&s, p, 77, NULL, 0, &got) == SER_E_SPACE && got == 0);
    before = s;
    for (i = 1; i < LONG; i++) { /* refused with every capacity but the one that is enough, and nothing beyond it */
        ser_segment *out = allocate(i * sizeof *out);
        const ser_status status = ser_segmenter_push(&s, p, LONG, out, i, &got);
        free(out);
        if (status == SER_OK) break;
        CHECK(status == SER_E_SPACE && got == 0 && memcmp(&s, &before, sizeof s) == 0);
    }
    CHECK(got == i && i > 5);
    before = s;
    for (i = 0; i < sizeof no_probability / sizeof *no_probability; i++) {
        ser_segment out[2];
        float two[2] = {1, 0};
        two[1] = no_probability[i];
        CHECK(ser_segmenter_push(&s, two, 2, out, 2, &got) == SER_E_VALUE && got == 0);
        CHECK(ser_segmenter_push(NULL, p, 1, out, 2, &got) == SER_E_ARGUMENT);
        CHECK(ser_segmenter_push(&s, NULL, 1, out, 2, &got) == SER_E_ARGUMENT);
        CHECK(ser_segmenter_push(&s, p, 1, NULL, 2, &got) == SER_E_ARGUMENT);
        CHECK(ser_segmenter_push(&s, p, 1, out, 2, NULL) == SER_E_ARGUMENT);
        CHECK(ser_segmenter_push(&s, NULL, 0, NULL, 0, &got) == SER_OK && got == 0);
        CHECK(ser_segmenter_finish(&s, 160 * (uint64_t)(LONG - 1), out, &got) == SER_E_LENGTH);
        CHECK(ser_segmenter_finish(&s, 160 * (uint64_t)LONG + 1, out, &got) == SER_E_LENGTH);
        CHECK(ser_segmenter_finish(&s, 0, out, &got) == SER_E_LENGTH);
        CHECK(ser_segmenter_finish(NULL, 160 * (uint64_t)LONG, out, &got) == SER_E_ARGUMENT);
        CHECK(ser_segmenter_finish(&s, 160 * (uint64_t)LONG, NULL, &got) == SER_E_ARGUMENT);
        CHECK(ser_segmenter_finish(&s, 160 * (uint64_t)LONG, out, NULL) == SER_E_ARGUMENT);
    }
    CHECK(memcmp(&s, &before, sizeof s) == 0);
    free(p);
}

static void normalisation(void) {
    const size_t n = 500;
    void *memory;
    ser_logmel *s = make(&memory, isa);
    float *x = noise(n, 9), *by_hand = allocate(n * sizeof *by_hand), *expected, *got;
    size_t i;
    for (i = 0; i < n; i++) by_hand[i] = (x[i] - 0.25f) * 2.0f;
    expected = in_pieces(s, by_hand, n, n);
    CHECK(ser_logmel_normalise(NULL, 0.0f, 1.0f) == SER_E_ARGUMENT);
    CHECK(ser_logmel_normalise(s, NAN, 1.0f) == SER_E_VALUE && ser_logmel_normalise(s, 0.0f, INFINITY) == SER_E_VALUE);
    CHECK(ser_logmel_normalise(s, 0.25f, 2.0f) == SER_OK);
    for (i = 0; i < 2; i++) { /* finish keeps it */
        got = in_pieces(s, x, n, 77);
        CHECK(memcmp(got, expected, frames_of(s, n) * (size_t)ser_logmel_mels(s) * sizeof *got) == 0);
        free(got);
    }
    free(expected);
    free(by_hand);
    free(x);
    free(memory);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"best", "plain", "128", "avx2", "avx512"};
    static const int geometries[] = {64, 144};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (argc == 2 && strcmp(argv[1], names[i]) == 0) break;
    if (i == sizeof names / sizeof *names) {
        fprintf(stderr, "usage: test_frontend best|plain|128|avx2|avx512\n");
        return 2;
    }
    isa = (ser_isa)i;
    CHECK(ser_isa_available(SER_ISA_PLAIN) == 1 && ser_isa_available(SER_ISA_BEST) == 1);
    CHECK(ser_isa_available((ser_isa)5) == 0);
    CHECK(ser_isa_available(isa) == 1);
    segments();
    status_texts();
    for (i = 0; i < sizeof geometries / sizeof *geometries; i++) {
        n_fft = geometries[i];
        sizes();
        wrong_arguments();
        cut_independence();
        misaligned_memory_and_canaries();
        output_canaries();
        refused_pushes_take_nothing();
        too_short();
        extremes();
        statistics();
        normalisation();
    }
    printf("%s: all true\n", argv[1]);
    return 0;
}
