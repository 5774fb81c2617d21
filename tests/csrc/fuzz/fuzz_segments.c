/* ser_segmenter_* with any parameters and any probabilities in any pieces, against a model of what each call has to
 * answer and against the same probabilities one by one.
 */
#include "sertool.h"

#include "fuzz.h"

enum { MOST = 4096, FRAME = 160 };

static double take_double(input *in) {
    const uint64_t low = take_u32(in), bits = low | (uint64_t)take_u32(in) << 32;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Any number at all, or one that may be a threshold, or one that may be a time. */
static double take_parameter(input *in) {
    const unsigned kind = take(in);
    if (kind < 16) return take_double(in);
    return kind < 128 ? (kind - 16) / 111.0 : (kind - 128) / 100.0;
}

static int is_time(double x) { return x >= 0 && x <= 1e9; }

/* Probabilities: of any kind, or runs of the same. *n of them, the caller frees them. */
static float *take_probabilities(input *in, size_t *n) {
    const unsigned kind = take(in);
    float *p;
    size_t i;
    *n = kind % 64;
    p = apart(NULL, *n * sizeof *p);
    for (i = 0; i < *n; i++) p[i] = kind >= 240 ? take_float(in) : kind >= 128 ? (float)take(in) / 255.0f : i ? p[0] : (float)take(in) / 255.0f;
    return p;
}

static int probable(const float *p, size_t n) {
    for (; n; n--, p++)
        if (!(*p >= 0 && *p <= 1)) return 0;
    return 1;
}

/* What has come of a recording. */
typedef struct found {
    ser_segment all[MOST + 2];
    size_t n;
} found;

static void add(found *f, const ser_segment *segments, size_t n) {
    CHECK(f->n + n <= MOST + 2);
    if (n) memcpy(f->all + f->n, segments, n * sizeof *segments);
    f->n += n;
}

static ser_segment *pushed(ser_segmenter *s, const float *p, size_t n, size_t *segments) {
    ser_segment *out = apart(NULL, (n / 2 + 2) * sizeof *out);
    const uint64_t uncertain = ser_segmenter_uncertain(s);
    size_t i;
    CHECK(ser_segmenter_push(s, p, n, out, n / 2 + 2, segments) == SER_OK && *segments <= n / 2 + 2);
    for (i = 0; i < *segments; i++) CHECK(out[i].start >= uncertain);
    CHECK(ser_segmenter_uncertain(s) >= uncertain);
    CHECK(*segments == 0 || ser_segmenter_uncertain(s) >= out[*segments - 1].end);
    return out;
}

static void finish(ser_segmenter *s, uint64_t samples, found *f) {
    ser_segment *out = apart(NULL, 2 * sizeof *out);
    size_t segments, i;
    CHECK(ser_segmenter_finish(s, samples, out, &segments) == SER_OK && segments <= 2);
    add(f, out, segments);
    free(out);
    for (i = 0; i < f->n; i++) {
        CHECK(f->all[i].start <= f->all[i].end && f->all[i].end <= samples);
        CHECK(!i || f->all[i].start >= f->all[i - 1].end);
    }
    CHECK(ser_segmenter_uncertain(s) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static found whole, single;
    input in = {bytes, n};
    ser_vad_parameters p = ser_vad_parameters_default();
    ser_segmenter s, other;
    ser_status expected;
    size_t pushes = 0, segments, i;
    if (take(&in) & 1) {
        p.threshold = take_parameter(&in);
        p.lower = take_parameter(&in);
        p.shortest_speech_s = take_parameter(&in);
        p.shortest_silence_s = take_parameter(&in);
        p.padding_s = take_parameter(&in);
    }
    expected = p.lower >= 0 && p.threshold >= p.lower && p.threshold <= 1 && is_time(p.shortest_speech_s) &&
                       is_time(p.shortest_silence_s) && is_time(p.padding_s)
                   ? SER_OK
                   : SER_E_ARGUMENT;
    CHECK(ser_segmenter_init(&s, &p) == expected && ser_segmenter_init(&other, &p) == expected);
    if (expected != SER_OK) return 0;
    whole.n = single.n = 0;
    while (in.left) {
        size_t count;
        float *x = take_probabilities(&in, &count);
        const unsigned call = take(&in);
        ser_segment *out;
        if (pushes + count > MOST) {
            free(x);
            break;
        }
        if (!probable(x, count)) {
            out = apart(NULL, (count / 2 + 2) * sizeof *out);
            CHECK(ser_segmenter_push(&s, x, count, out, count / 2 + 2, &segments) == SER_E_VALUE && !segments);
        } else {
            ser_segmenter before = s;
            out = pushed(&s, x, count, &segments);
            if (call & 1 && segments) { /* again, with too little room, and again */
                ser_segment *room = apart(NULL, (segments - 1) * sizeof *room);
                const size_t had = segments;
                CHECK(ser_segmenter_push(&before, x, count, room, had - 1, &segments) == SER_E_SPACE && !segments);
                free(room);
                free(out);
                s = before;
                out = pushed(&s, x, count, &segments);
                CHECK(segments == had);
            }
            add(&whole, out, segments);
            for (i = 0; i < count; i++) {
                ser_segment *one = pushed(&other, x + i, 1, &segments);
                add(&single, one, segments);
                free(one);
            }
            pushes += count;
        }
        free(out);
        free(x);
        if (call >= 224) { /* the end of a recording, its last frame of any length */
            const uint64_t position = (uint64_t)pushes * FRAME, samples = pushes ? position - call * 5 % FRAME : 0;
            ser_segment two[2];
            CHECK(ser_segmenter_finish(&s, position + 1, two, &segments) == SER_E_LENGTH);
            CHECK(!pushes || ser_segmenter_finish(&s, position - FRAME, two, &segments) == SER_E_LENGTH);
            finish(&s, samples, &whole);
            finish(&other, samples, &single);
            CHECK(whole.n == single.n);
            for (i = 0; i < whole.n; i++)
                CHECK(whole.all[i].start == single.all[i].start && whole.all[i].end == single.all[i].end);
            whole.n = single.n = pushes = 0;
        }
    }
    return 0;
}
