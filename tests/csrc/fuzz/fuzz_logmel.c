/* ser_logmel_* and ser_statistics_* with any samples in any pieces, against a model of what each call has to answer
 * and against plain C that gets the same samples in other pieces.
 *
 * Includes what lays out a LogMel, so that each of its buffers can lie in a block of its own.
 */
#include "logmel_init.c"

#include "fuzz.h"

enum { MOST = 20000 };

static ser_logmel *make(int n_fft, ser_isa isa, void **memory) {
    const size_t bytes = ser_logmel_size(n_fft);
    ser_logmel *s;
    *memory = apart(NULL, bytes);
    CHECK(ser_logmel_init(*memory, bytes, n_fft, isa, &s) == SER_OK);
    s->carry = apart(s->carry, carry_floats(s->g) * sizeof(float));
    s->work = apart(s->work, (size_t)(5 * n_fft / 2 + 1 + s->g->n_mels) * (size_t)s->lanes * sizeof(float));
    return s;
}

static void give_back(ser_logmel *s, void *memory) {
    free(s->carry);
    free(s->work);
    free(memory);
}

/* A push into exactly the room that is needed: [*frames][n_mels], the caller frees it. */
static float *pushed(ser_logmel *s, const float *x, size_t n, size_t *frames) {
    const size_t ready = ser_logmel_ready(s, n);
    float *out = apart(NULL, ready * (size_t)ser_logmel_mels(s) * sizeof *out);
    CHECK(ser_logmel_push(s, x, n, out, ready, frames) == SER_OK && *frames == ready);
    return out;
}

/* The same bits, and numbers. */
static void compare(const float *a, const float *b, size_t n) {
    size_t i;
    CHECK(n == 0 || memcmp(a, b, n * sizeof *a) == 0);
    for (i = 0; i < n; i++) CHECK(a[i] >= -100.0f && a[i] < 400.0f);
}

static void compare_statistics(const ser_statistics *a, const ser_statistics *b, uint64_t samples) {
    const ser_status expected = samples ? SER_OK : SER_E_SHORT;
    float mean[2] = {0}, scale[2] = {0};
    CHECK(ser_statistics_finish(a, &mean[0], &scale[0]) == expected);
    CHECK(ser_statistics_finish(b, &mean[1], &scale[1]) == expected);
    CHECK(memcmp(&mean[0], &mean[1], sizeof *mean) == 0 && memcmp(&scale[0], &scale[1], sizeof *scale) == 0);
    CHECK(usable(mean, 1) && usable(scale, 1) && scale[0] >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    input in = {bytes, n};
    const int n_fft = take(&in) % 2 ? 144 : 64;
    const size_t half = (size_t)n_fft / 2, mels = n_fft == 64 ? 26 : 58;
    void *memory, *plain_memory;
    ser_logmel *s = make(n_fft, take_isa(&in), &memory), *plain = make(n_fft, SER_ISA_PLAIN, &plain_memory);
    ser_statistics whole, cut;
    uint64_t samples = 0, summed = 0;
    size_t all = 0;
    ser_statistics_init(&whole);
    ser_statistics_init(&cut);
    while (in.left && all < MOST) {
        const unsigned call = take(&in) % 8;
        if (call < 5) {
            size_t count, frames, first, second, ready, middle;
            float *x = take_samples(&in, &count), *out, *one, *two;
            all += count;
            ready = ser_logmel_ready(s, count);
            CHECK(ready == (samples + count > half ? 1 + (samples + count - half) / half : 0) -
                               (samples > half ? 1 + (samples - half) / half : 0));
            if (!usable(x, count)) {
                out = apart(NULL, ready * mels * sizeof *out);
                CHECK(ser_logmel_push(s, x, count, out, ready, &frames) == SER_E_VALUE && frames == 0);
                CHECK(ser_statistics_push(&whole, x, count) == SER_E_VALUE);
            } else {
                if (call == 4 && ready) {
                    out = apart(NULL, (ready - 1) * mels * sizeof *out);
                    CHECK(ser_logmel_push(s, x, count, out, ready - 1, &frames) == SER_E_SPACE && frames == 0);
                    free(out);
                }
                out = pushed(s, x, count, &frames);
                middle = count ? take(&in) * count / 256 : 0;
                one = pushed(plain, x, middle, &first);
                two = pushed(plain, x + middle, count - middle, &second);
                CHECK(first + second == frames);
                compare(out, one, first * mels);
                compare(out + first * mels, two, second * mels);
                CHECK(ser_statistics_push(&whole, x, count) == SER_OK);
                CHECK(ser_statistics_push(&cut, x, middle) == SER_OK);
                CHECK(ser_statistics_push(&cut, x + middle, count - middle) == SER_OK);
                compare_statistics(&whole, &cut, summed += count);
                samples += count;
                free(two);
                free(one);
            }
            free(out);
            free(x);
        } else if (call == 5) {
            float *out = apart(NULL, mels * sizeof *out), *other = apart(NULL, mels * sizeof *out);
            const ser_status expected = samples > half ? SER_OK : SER_E_SHORT;
            CHECK(ser_logmel_finish(s, out) == expected && ser_logmel_finish(plain, other) == expected);
            if (expected == SER_OK) compare(out, other, mels);
            samples = 0;
            free(other);
            free(out);
        } else if (call == 6) {
            const float mean = take_float(&in), scale = take_float(&in);
            const ser_status expected = usable(&mean, 1) && usable(&scale, 1) ? SER_OK : SER_E_VALUE;
            CHECK(ser_logmel_normalise(s, mean, scale) == expected);
            CHECK(ser_logmel_normalise(plain, mean, scale) == expected);
        } else {
            ser_statistics_init(&whole);
            ser_statistics_init(&cut);
            summed = 0;
        }
    }
    give_back(s, memory);
    give_back(plain, plain_memory);
    return 0;
}
