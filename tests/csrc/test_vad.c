/* The voice activity detector's contract as sertool.h states it, from C: `test_vad ISA` with ISA plain, 128, avx2 or
 * avx512. As test_frontend.c does, it says what failed and exits 1; every buffer has exactly the size that is needed.
 */
#include "contract.h"
#include "sertool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 9001 };

static ser_isa isa;

/* Noise that comes and goes: [n], the caller frees it. */
static float *sound(size_t n, uint32_t seed) {
    float *x = noise(n, seed);
    size_t i;
    for (i = 0; i < n; i++) x[i] *= (float)(1 + i / 100 % 17) / 17.0f;
    return x;
}

static size_t frames_of(size_t n) { return (n + SER_VAD_FRAME - 1) / SER_VAD_FRAME; }

/* Probabilities of samples [n] in pushes of `piece`, every output exactly as large as ser_vad_ready says: [frames],
 * the caller frees it. */
static float *in_pieces(ser_vad *s, const float *samples, size_t n, size_t piece) {
    const size_t total = frames_of(n);
    float *all = allocate(total * sizeof *all), *rest;
    size_t at = 0, done = 0, got = 99;
    while (at < n) {
        const size_t now = n - at < piece ? n - at : piece, ready = ser_vad_ready(s, now);
        float *out = ready ? allocate(ready * sizeof *out) : NULL;
        float *copy = allocate(now * sizeof *copy); /* gone after the call: "read only during the call" */
        memcpy(copy, samples + at, now * sizeof *copy);
        CHECK(ser_vad_push(s, copy, now, out, ready, &got) == SER_OK);
        CHECK(got == ready && done + got <= total);
        if (got) memcpy(all + done, out, got * sizeof *out);
        free(copy);
        free(out);
        done += got;
        at += now;
    }
    CHECK(total - done <= SER_VAD_REST);
    rest = allocate((total - done) * sizeof *rest);
    CHECK(ser_vad_finish(s, rest, total - done, &got) == SER_OK && got == total - done);
    memcpy(all + done, rest, got * sizeof *rest);
    free(rest);
    for (at = 0; at < total; at++) CHECK(all[at] >= 0 && all[at] <= 1);
    return all;
}

static ser_vad *make(void **memory, ser_isa which) {
    const size_t bytes = ser_vad_size();
    ser_vad *s = NULL;
    *memory = allocate(bytes);
    memset(*memory, CANARY, bytes); /* init must not count on zeros */
    CHECK(ser_vad_init(*memory, bytes, which, &s) == SER_OK);
    CHECK((unsigned char *)s >= (unsigned char *)*memory && (unsigned char *)s < (unsigned char *)*memory + bytes);
    return s;
}

static void wrong_arguments(void) {
    const size_t bytes = ser_vad_size();
    unsigned char *memory = allocate(bytes);
    float *x = sound(5000, 1), out[40];
    ser_vad *s = NULL;
    size_t got = 7;

    CHECK(bytes > 0 && bytes < 65536);
    memset(memory, CANARY, bytes);
    CHECK(ser_vad_init(memory, bytes - 1, isa, &s) == SER_E_ARGUMENT);
    CHECK(ser_vad_init(memory, bytes, (ser_isa)5, &s) == SER_E_ARGUMENT);
    CHECK(ser_vad_init(NULL, bytes, isa, &s) == SER_E_ARGUMENT);
    CHECK(ser_vad_init(memory, bytes, isa, NULL) == SER_E_ARGUMENT);
    CHECK(s == NULL && all_canaries(memory, bytes)); /* a refused init touches nothing */

    CHECK(ser_vad_init(memory, bytes, isa, &s) == SER_OK);
    CHECK(ser_vad_push(NULL, x, 5000, out, 40, &got) == SER_E_ARGUMENT);
    CHECK(ser_vad_push(s, NULL, 5000, out, 40, &got) == SER_E_ARGUMENT);
    CHECK(ser_vad_push(s, x, 5000, out, 40, NULL) == SER_E_ARGUMENT);
    CHECK(ser_vad_push(s, x, 5000, NULL, 40, &got) == SER_E_ARGUMENT);
    CHECK(ser_vad_push(s, NULL, 0, NULL, 0, &got) == SER_OK && got == 0);
    CHECK(ser_vad_push(s, x, 5000, out, 40, &got) == SER_OK && got == 10); /* nothing was taken before */
    CHECK(ser_vad_finish(NULL, out, 40, &got) == SER_E_ARGUMENT);
    CHECK(ser_vad_finish(s, out, 40, NULL) == SER_E_ARGUMENT);
    CHECK(ser_vad_finish(s, NULL, 40, &got) == SER_E_ARGUMENT);
    CHECK(ser_vad_finish(s, out, 21, &got) == SER_E_SPACE && got == 0);
    CHECK(ser_vad_finish(s, out, 22, &got) == SER_OK && got == 22);
    CHECK(ser_vad_finish(s, NULL, 0, &got) == SER_OK && got == 0); /* an empty recording */
    free(x);
    free(memory);
}

static void cut_independence(void) {
    static const size_t pieces[] = {1, 31, 160, 319, 320, 512, 2047, 2048, 2049, 4000};
    static const size_t lengths[] = {0, 1, 32, 33, 159, 160, 161, 3519, 3520, 3521, 4000, LONG};
    void *memory, *plain_memory;
    ser_vad *s = make(&memory, isa), *plain = make(&plain_memory, SER_ISA_PLAIN);
    size_t i, j;
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const size_t n = lengths[i], bytes = frames_of(n) * sizeof(float);
        float *x = sound(n, (uint32_t)n), *whole = in_pieces(s, x, n, n), *reference = in_pieces(plain, x, n, n);
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
    const size_t bytes = ser_vad_size(), n = 4500;
    unsigned char *buffer = allocate(bytes + 64 + 2 * GUARD);
    void *memory;
    ser_vad *aligned = make(&memory, isa);
    float *x = sound(n, 3), *expected = in_pieces(aligned, x, n, n);
    size_t offset;
    for (offset = 0; offset < 64; offset++) {
        unsigned char *at = buffer + GUARD + offset;
        ser_vad *s = NULL;
        float *got;
        memset(buffer, CANARY, bytes + 64 + 2 * GUARD);
        CHECK(ser_vad_init(at, bytes, isa, &s) == SER_OK);
        got = in_pieces(s, x, n, 1500);
        CHECK(memcmp(got, expected, frames_of(n) * sizeof *got) == 0);
        CHECK(all_canaries(buffer, GUARD + offset));
        CHECK(all_canaries(at + bytes, GUARD + 64 - offset));
        free(got);
    }
    free(expected);
    free(x);
    free(memory);
    free(buffer);
}

static void refused_pushes_take_nothing(void) {
    const size_t n = LONG, cut = 2500, rest = n - cut;
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e13f, -1.1e12f};
    void *memory;
    ser_vad *s = make(&memory, isa);
    float *x = sound(n, 5), *expected = in_pieces(s, x, n, n), *got = allocate(frames_of(n) * sizeof *got);
    float *broken = allocate(rest * sizeof *broken);
    size_t first, second, last, none = 7, i;

    CHECK(ser_vad_push(s, x, cut, got, 40, &first) == SER_OK && first == 0);
    CHECK(ser_vad_ready(s, rest) > 1);
    CHECK(ser_vad_push(s, x + cut, rest, got, ser_vad_ready(s, rest) - 1, &none) == SER_E_SPACE && none == 0);
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(broken, x + cut, rest * sizeof *broken);
        broken[i * 1625] = bad[i]; /* 0, 1625, ... 6500, the last sample: in every chunk */
        none = 7;
        CHECK(ser_vad_push(s, broken, rest, got, 100, &none) == SER_E_VALUE && none == 0);
    }
    CHECK(ser_vad_push(s, x + cut, rest, got, ser_vad_ready(s, rest), &second) == SER_OK);
    CHECK(ser_vad_finish(s, got + second, SER_VAD_REST, &last) == SER_OK && second + last == frames_of(n));
    CHECK(memcmp(got, expected, frames_of(n) * sizeof *got) == 0);
    free(broken);
    free(got);
    free(expected);
    free(x);
    free(memory);
}

static void extremes(void) {
    static const float levels[] = {0.0f, 1e-45f, 1e-38f, 1.0f, 1e12f, -1e12f};
    void *memory;
    ser_vad *s = make(&memory, isa);
    float *x = allocate(LONG * sizeof *x);
    size_t i, j;
    for (i = 0; i < sizeof levels / sizeof *levels; i++) {
        for (j = 0; j < LONG; j++) x[j] = j / 700 % 2 ? 0 : j % 3 ? levels[i] : -levels[i];
        free(in_pieces(s, x, LONG, LONG)); /* between 0 and 1, which NaN is not */
    }
    free(x);
    free(memory);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"best", "plain", "128", "avx2", "avx512"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (argc == 2 && strcmp(argv[1], names[i]) == 0) break;
    if (i == sizeof names / sizeof *names) {
        fprintf(stderr, "usage: test_vad best|plain|128|avx2|avx512\n");
        return 2;
    }
    isa = (ser_isa)i;
    CHECK(ser_isa_available(isa) == 1);
    wrong_arguments();
    cut_independence();
    misaligned_memory_and_canaries();
    refused_pushes_take_nothing();
    extremes();
    printf("%s: all true\n", argv[1]);
    return 0;
}
