/* Containers of weights: the fuzzer's bytes as they are, with their sums put right, or as edits of a right one.
 * What is taken is run, with the instruction sets compared.
 */
#include "sertool.h"

#include "fuzz.h"

enum { HEADER = 32, ENTRY = 64, MOST_BYTES = 1 << 19 };

static uint32_t u32_at(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(unsigned char *p, uint32_t x) {
    int i;
    for (i = 0; i < 4; i++) p[i] = (unsigned char)(x >> 8 * i & 255);
}

static uint32_t crc32(uint32_t crc, const unsigned char *p, size_t n) {
    static uint32_t table[256];
    uint32_t i;
    int bit;
    if (!table[1])
        for (i = 0; i < 256; i++)
            for (table[i] = i, bit = 0; bit < 8; bit++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    for (crc = ~crc; n; n--) crc = crc >> 8 ^ table[(crc ^ *p++) & 255];
    return ~crc;
}

/* Entries that lie within the container, however many it says. */
static uint32_t entries_of(const unsigned char *container, size_t bytes) {
    const uint32_t said = bytes < HEADER ? 0 : u32_at(container + 12);
    const size_t room = bytes < HEADER ? 0 : (bytes - HEADER) / ENTRY;
    return said < room ? said : (uint32_t)room;
}

/* All sums that can be right. */
static void sum_up(unsigned char *container, size_t bytes) {
    const uint32_t entries = entries_of(container, bytes);
    uint32_t i, crc;
    if (bytes < HEADER) return;
    for (i = 0; i <= entries; i++) { /* the last one is the text */
        unsigned char *place = i < entries ? container + HEADER + ENTRY * i + 48 : container + 16;
        const uint32_t from = u32_at(place), size = u32_at(place + 4);
        if (from <= bytes && size <= bytes - from) put_u32(place + 8, crc32(0, container + from, size));
    }
    crc = crc32(0, container, 28);
    put_u32(container + 28, crc32(crc, container + HEADER, ENTRY * (size_t)entries));
}

/* A number that a field may not like. */
static uint32_t take_number(input *in, uint32_t was) {
    const unsigned kind = take(in);
    if (kind < 64) return kind;
    if (kind < 96) return was < 0xffffffe0u ? was + (kind - 64) : was;
    if (kind < 128) return was > kind - 96 ? was - (kind - 96) : 0;
    if (kind < 160) return (uint32_t)1 << (kind - 128);
    if (kind < 192) return 0xffffffffu - (kind - 160);
    return take_u32(in);
}

static unsigned char *some_entry(input *in, unsigned char *container) {
    return container + HEADER + ENTRY * (take(in) % u32_at(container + 12));
}

/* Change a right container [bytes]. 1 if nothing but numbers of the layers has changed, so that it must be taken. */
static int edit(input *in, unsigned char *container, size_t bytes) {
    const uint32_t entries = u32_at(container + 12);
    int right = 1, edits;
    for (edits = 0; edits < 16 && in->left; edits++) {
        const unsigned what = take(in) % 8;
        unsigned char *entry, *at;
        if (u32_at(container + 12) != entries) break; /* nobody knows where they end */
        entry = some_entry(in, container);
        at = container + u32_at(entry + 48);
        if (u32_at(entry + 48) > bytes - 4 || u32_at(entry + 52) > bytes - u32_at(entry + 48)) break;
        if (what == 0) { /* header */
            at = container + 8 + 4 * (take(in) % 6);
            put_u32(at, take_number(in, u32_at(at)));
            right = 0;
        } else if (what == 1 || what == 2) { /* entry */
            at = entry + 24 + 4 * (take(in) % 10);
            put_u32(at, take_number(in, u32_at(at)));
            right = 0;
        } else if (what == 3) { /* name */
            entry[take(in) % 24] = (unsigned char)take(in);
            right = 0;
        } else if (what == 4) { /* two entries change places: the names are the same, and so is the network */
            unsigned char other[ENTRY], *second = some_entry(in, container);
            memcpy(other, second, ENTRY);
            memmove(second, entry, ENTRY);
            memcpy(entry, other, ENTRY);
        } else if (u32_at(entry + 24) == 3) { /* the network itself */
            at += 4 * (take(in) % 4);
            put_u32(at, take_number(in, u32_at(at)));
            right = 0;
        } else if (u32_at(entry + 52) >= 4) { /* one number of a layer, or all of them */
            const uint32_t numbers = u32_at(entry + 52) / 4;
            const uint32_t where = take_u32(in) % numbers, value = take_u32(in);
            uint32_t i;
            for (i = 0; i < numbers; i++)
                if (i == where || what == 7) put_u32(at + 4 * i, value);
        }
    }
    return right;
}

/* The same numbers, NaN being the same as NaN. */
static int same(const float *a, const float *b, int n) {
    for (; n; n--, a++, b++)
        if (!(*a == *b || (*a != *a && *b != *b))) return 0;
    return 1;
}

/* Outputs [16] of the container in *out; how many, 0 if it is refused. */
static int outputs_of(const unsigned char *container, size_t bytes, ser_isa isa, float *out) {
    const size_t size = ser_wav2small_size(container, bytes, isa), samples = 130;
    void *memory = apart(NULL, size ? size : MOST_BYTES);
    ser_wav2small *e = NULL;
    const ser_status status = ser_wav2small_init(memory, size ? size : MOST_BYTES, container, bytes, isa, &e);
    int outputs = 0;
    if (!size) {
        CHECK(status == SER_E_WEIGHTS && !e);
    } else {
        float *x = noise(samples, 200, 1);
        CHECK(size < 512 * 1024 && status == SER_OK && e);
        outputs = ser_wav2small_outputs(e);
        CHECK(outputs >= 1 && outputs <= 16 && (ser_wav2small_passes(e) == 2 || ser_wav2small_passes(e) == 3));
        CHECK(ser_wav2small_run(e, x, samples, out) == SER_OK);
        free(x);
    }
    free(memory);
    return outputs;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    input in = {bytes, n};
    const unsigned kind = take(&in);
    const ser_isa isa = take_isa(&in);
    unsigned char *container;
    float out[16], plain[16];
    size_t size;
    int must = 0, mustnt = 0, outputs;

    if (kind < 128) { /* the bytes, their sums put right or not */
        size = in.left;
        container = apart(in.at, size);
        if (kind >= 32) sum_up(container, size);
        if (kind >= 64 && size >= 12) put_u32(container + 8, (uint32_t)size), sum_up(container, size);
    } else {
        const unsigned damage = take(&in), where = take_u32(&in);
        const unsigned char *right = container_of(kind % KINDS, &size);
        unsigned char *edited = apart(right, size);
        must = edit(&in, edited, size);
        sum_up(edited, size);
        if (damage >= 224) { /* cut off */
            size = where % size;
            must = 0, mustnt = 1;
        } else if (damage >= 192) { /* a byte of what the sums guard */
            edited[where % (HEADER + ENTRY * entries_of(edited, size))] ^= (unsigned char)(1 + damage % 32);
            must = 0, mustnt = 1;
        }
        container = apart(edited, size);
        free(edited);
    }
    outputs = outputs_of(container, size, isa, out);
    CHECK(outputs ? !mustnt : !must);
    if (isa != SER_ISA_PLAIN || outputs) {
        CHECK(outputs_of(container, size, SER_ISA_PLAIN, plain) == outputs);
        if (kind >= 128 && kind % KINDS >= 2) CHECK(same(out, plain, outputs));
    }
    free(container);
    return 0;
}
