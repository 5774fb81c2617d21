/* Reader for files of native weights. Checks everything before use: the file may be damaged or malicious. */
#include "weights.h"

#include <string.h>

enum { HEADER = 32, ENTRY = 64, NAME = 24, MOST_TENSORS = 64, ALIGNMENT = 64, FLOAT32 = 1, INT8 = 2, INT32 = 3 };

typedef struct container {
    const unsigned char *bytes;
    uint32_t size, tensors;
} container;

static uint32_t u32_at(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* CRC-32 as in zlib and PNG (reflected polynomial 0xedb88320), four bits at a time. crc: of the preceding data. */
static uint32_t crc32(uint32_t crc, const unsigned char *p, size_t n) {
    static const uint32_t table[16] = {0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
                                       0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
                                       0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    crc = ~crc;
    for (; n; n--) {
        crc ^= *p++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static int in_place(const container *c, uint32_t offset, uint32_t bytes) {
    return offset >= HEADER + ENTRY * c->tensors && offset <= c->size && bytes <= c->size - offset;
}

/* Check header, entries and all checksums; return 1 if they are valid, else 0. */
static int open_container(const void *memory, size_t bytes, container *c) {
    const unsigned char *p = memory;
    uint32_t i, crc;
    if (bytes < HEADER || memcmp(p, "SERNATV1", 8) != 0) return 0;
    c->bytes = p;
    c->size = u32_at(p + 8);
    c->tensors = u32_at(p + 12);
    if (c->size != bytes || c->tensors > MOST_TENSORS || HEADER + ENTRY * c->tensors > c->size) return 0;
    crc = crc32(0, p, HEADER - 4);
    if (crc32(crc, p + HEADER, ENTRY * c->tensors) != u32_at(p + HEADER - 4)) return 0;
    for (i = 0; i < c->tensors; i++) {
        const unsigned char *entry = p + HEADER + ENTRY * i;
        const uint32_t offset = u32_at(entry + 48), size = u32_at(entry + 52);
        if (offset % ALIGNMENT || !in_place(c, offset, size)) return 0;
        if (crc32(0, p + offset, size) != u32_at(entry + 56)) return 0;
    }
    if (!u32_at(p + 16)) return 1;
    if (!in_place(c, u32_at(p + 16), u32_at(p + 20))) return 0;
    return crc32(0, p + u32_at(p + 16), u32_at(p + 20)) == u32_at(p + 24);
}

/* Return the data of tensor name + suffix with this type and shape [4] (1 beyond its rank), NULL if there is none. */
static const void *tensor(const container *c, const char *name, const char *suffix, uint32_t type,
                          const uint32_t *shape) {
    char wanted[NAME + 1] = {0};
    uint32_t i;
    int axis, at = 0;
    while (*name) wanted[at++] = *name++;
    while (*suffix) wanted[at++] = *suffix++;
    for (i = 0; i < c->tensors; i++) {
        const unsigned char *entry = c->bytes + HEADER + ENTRY * i;
        uint32_t bytes = type == INT8 ? 1 : 4;
        if (memcmp(entry, wanted, NAME) != 0) continue;
        if (u32_at(entry + 24) != type) return NULL;
        for (axis = 0; axis < 4; axis++) {
            if (u32_at(entry + 32 + 4 * axis) != shape[axis]) return NULL;
            bytes *= shape[axis];
        }
        return u32_at(entry + 52) == bytes ? c->bytes + u32_at(entry + 48) : NULL;
    }
    return NULL;
}

static const float *vector(const container *c, const char *name, const char *suffix, uint32_t n) {
    const uint32_t shape[4] = {n, 1, 1, 1};
    return tensor(c, name, suffix, FLOAT32, shape);
}

/* Find a layer's weights, its scale if int8, and its bias if it has one. taps: 3 for a convolution, else 1. Return 1 if
 * all of them exist, else 0. */
static int layer(const container *c, const char *name, int int8, int biased, uint32_t taps, uint32_t in, uint32_t out,
                 ser_layer *found) {
    uint32_t shape[4] = {taps, taps, in, out}, bare[4] = {in, out, 1, 1};
    if (in == 1) shape[2] = out, shape[3] = 1;
    if (int8) shape[0] = out, shape[1] = shape[2] = taps, shape[3] = in, bare[0] = out, bare[1] = in;
    found->weight = tensor(c, name, ".weight", int8 ? INT8 : FLOAT32, taps > 1 ? shape : bare);
    found->scale = int8 ? vector(c, name, ".scale", out) : NULL;
    found->bias = biased ? vector(c, name, ".bias", out) : NULL;
    return found->weight && (found->scale || !int8) && (found->bias || !biased);
}

ser_status ser_network_open(const void *memory, size_t bytes, ser_network *n) {
    const uint32_t four[4] = {4, 1, 1, 1};
    uint32_t head[4] = {1, SER_WIDTH, 1, 1};
    char name[] = "conv1";
    container c;
    const unsigned char *about;
    uint32_t outputs, i;
    int int8, whole;
    if (!memory || !n || (uintptr_t)memory % sizeof(float)) return SER_E_ARGUMENT;
    if (!open_container(memory, bytes, &c)) return SER_E_WEIGHTS;
    about = tensor(&c, "network", "", INT32, four);
    if (!about || u32_at(about) != 1) return SER_E_WEIGHTS;
    outputs = u32_at(about + 4);
    if (outputs < 1 || outputs > SER_MOST_OUTPUTS) return SER_E_WEIGHTS;
    if (u32_at(about + 8) > (SER_CENTRE | SER_SOFTMAX | SER_INT8)) return SER_E_WEIGHTS;
    n->outputs = (int)outputs;
    n->flags = (int)u32_at(about + 8);
    int8 = (n->flags & SER_INT8) != 0;
    whole = layer(&c, name, 0, 1, 3, 1, SER_CHANNELS, &n->conv[0]);
    for (i = 1; i < SER_LAYERS; i++) {
        name[4] = (char)('1' + i);
        whole &= layer(&c, name, int8, 1, 3, SER_CHANNELS, SER_CHANNELS, &n->conv[i]);
    }
    whole &= layer(&c, "mix", int8, 1, 1, SER_CHANNELS, SER_CHANNELS, &n->mix);
    whole &= layer(&c, "sof", int8, 0, 1, SER_WIDTH, SER_WIDTH, &n->sof);
    whole &= layer(&c, "lin", int8, 0, 1, SER_WIDTH, SER_WIDTH, &n->lin);
    n->lin.bias = vector(&c, "lin", ".bias", SER_WIDTH);
    head[0] = outputs;
    n->head = tensor(&c, "head", ".weight", FLOAT32, head);
    n->head_bias = vector(&c, "head", ".bias", outputs);
    return whole && n->head && n->head_bias ? SER_OK : SER_E_WEIGHTS;
}
