/* ser_vad_* with any samples in any pieces, against a model of what each call has to answer and against plain C that
 * gets the same samples in other pieces.
 *
 * Includes the detector, so that its state can lie in a block of its own.
 */
#include "vad.c"

#include "fuzz.h"

enum { MOST = 20000 };

/* The detector for an instruction set, made once, and what it holds of the input before forgotten. */
static ser_vad *detector(ser_isa isa, int which) {
    static ser_vad *made[2][5];
    float rest[SER_VAD_REST];
    size_t frames;
    if (!made[which][isa]) {
        const size_t bytes = ser_vad_size();
        ser_vad *s;
        CHECK(ser_vad_init(apart(NULL, bytes), bytes, isa, &s) == SER_OK);
        made[which][isa] = apart(s, sizeof *s);
    }
    CHECK(ser_vad_finish(made[which][isa], rest, SER_VAD_REST, &frames) == SER_OK);
    return made[which][isa];
}

/* A push into exactly the room that is needed: [*frames], the caller frees it. */
static float *pushed(ser_vad *s, const float *x, size_t n, size_t *frames) {
    const size_t ready = ser_vad_ready(s, n);
    float *out = apart(NULL, ready * sizeof *out);
    CHECK(ser_vad_push(s, x, n, out, ready, frames) == SER_OK && *frames == ready);
    return out;
}

/* The same bits, and probabilities. */
static void compare(const float *a, const float *b, size_t n) {
    size_t i;
    CHECK(n == 0 || memcmp(a, b, n * sizeof *a) == 0);
    for (i = 0; i < n; i++) CHECK(a[i] >= 0 && a[i] <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    input in = {bytes, n};
    ser_vad *s = detector(take_isa(&in), 0), *plain = detector(SER_ISA_PLAIN, 1);
    size_t samples = 0, told = 0, all = 0;
    while (in.left && all < MOST) {
        const unsigned call = take(&in) % 8;
        size_t frames, first, second;
        float *out, *one, *two;
        if (call < 6) {
            size_t count, ready, middle;
            float *x = take_samples(&in, &count);
            all += count;
            ready = ser_vad_ready(s, count);
            if (!usable(x, count)) {
                out = apart(NULL, ready * sizeof *out);
                CHECK(ser_vad_push(s, x, count, out, ready, &frames) == SER_E_VALUE && frames == 0);
            } else {
                if (call == 5 && ready) {
                    out = apart(NULL, (ready - 1) * sizeof *out);
                    CHECK(ser_vad_push(s, x, count, out, ready - 1, &frames) == SER_E_SPACE && frames == 0);
                    free(out);
                }
                out = pushed(s, x, count, &frames);
                middle = count ? take(&in) * count / 256 : 0;
                one = pushed(plain, x, middle, &first);
                two = pushed(plain, x + middle, count - middle, &second);
                CHECK(first + second == frames);
                compare(out, one, first);
                compare(out + first, two, second);
                free(two);
                free(one);
                samples += count;
                told += frames;
                CHECK(told * SER_VAD_FRAME <= samples && samples <= (told + SER_VAD_REST) * SER_VAD_FRAME);
            }
            free(out);
            free(x);
        } else {
            const size_t rest = (samples + SER_VAD_FRAME - 1) / SER_VAD_FRAME - told;
            CHECK(rest <= SER_VAD_REST);
            out = apart(NULL, rest * sizeof *out);
            one = apart(NULL, rest * sizeof *out);
            if (rest) CHECK(ser_vad_finish(s, out, rest - 1, &frames) == SER_E_SPACE && frames == 0);
            CHECK(ser_vad_finish(s, out, rest, &frames) == SER_OK && frames == rest);
            CHECK(ser_vad_finish(plain, one, rest, &frames) == SER_OK && frames == rest);
            compare(out, one, rest);
            free(one);
            free(out);
            samples = told = 0;
        }
    }
    return 0;
}
