/* LogMel's kernels and geometries, and memory for a LogMel. */
#include "isa.h"
#include "logmel_144.h"
#include "logmel_64.h"
#include "logmel_plain.h"

/* ---- the kernel, compiled once per instruction set ------------------------------------------------------------ */

#define RADIX_3 1
#include "logmel_kernel.h"

#if SER_WITH_VECTORS

typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t ivec4 __attribute__((vector_size(16)));
typedef float vec8 __attribute__((vector_size(32)));
typedef int32_t ivec8 __attribute__((vector_size(32)));
typedef float vec16 __attribute__((vector_size(64)));
typedef int32_t ivec16 __attribute__((vector_size(64)));

typedef float loose4 __attribute__((vector_size(16), aligned(4), may_alias));
#define LOAD(p) ((vec4) * (const loose4 *)(p))
#define STORE(p, v) (*(loose4 *)(p) = (loose4)(v))
#define JOIN4(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#define JOIN8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#define QUARTER(v, b) __builtin_shufflevector(v, v, 4 * (b), 4 * (b) + 1, 4 * (b) + 2, 4 * (b) + 3)
#define STORE_IF(yes, p, v) \
    do { \
        if (yes) STORE(p, v); \
    } while (0)

#define NAME(x) x##_128
#define TARGET
#define vec vec4
#define ivec ivec4
#define GATHER(p, s) LOAD(p)
#define SCATTER(p, s, v, n) STORE_IF((n) > 0, p, v)
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#include "logmel_vector.h"

#if SER_WITH_AVX
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#define vec vec8
#define ivec ivec8
#define GATHER(p, s) JOIN4(LOAD(p), LOAD((p) + 4 * (s)))
#define SCATTER(p, s, v, n) \
    do { \
        STORE_IF((n) > 0, p, QUARTER(v, 0)); \
        STORE_IF((n) > 4, (p) + 4 * (s), QUARTER(v, 1)); \
    } while (0)
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#include "logmel_vector.h"

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f")))
#define vec vec16
#define ivec ivec16
#define GATHER(p, s) JOIN8(JOIN4(LOAD(p), LOAD((p) + 4 * (s))), JOIN4(LOAD((p) + 8 * (s)), LOAD((p) + 12 * (s))))
#define SCATTER(p, s, v, n) \
    do { \
        STORE_IF((n) > 0, p, QUARTER(v, 0)); \
        STORE_IF((n) > 4, (p) + 4 * (s), QUARTER(v, 1)); \
        STORE_IF((n) > 8, (p) + 8 * (s), QUARTER(v, 2)); \
        STORE_IF((n) > 12, (p) + 12 * (s), QUARTER(v, 3)); \
    } while (0)
#define LO32(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HI32(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LO64(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HI64(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#include "logmel_vector.h"
#define MOST_LANES 16
#else
#define MOST_LANES 4
#endif

#else
#define MOST_LANES 1
#endif

/* ---- memory --------------------------------------------------------------------------------------------------- */

enum { ALIGNMENT = 64 };

/* Size of the carry: a gathered block and the padding that finish adds. */
static size_t carry_floats(const ser_geometry *g) { return ser_gathered(g, MOST_LANES) + (size_t)g->n_fft / 2; }

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static const ser_geometry *geometry_of(int n_fft) {
    return n_fft == 64 ? &ser_geometry_64 : n_fft == 144 ? &ser_geometry_144 : NULL;
}

size_t ser_logmel_size(int n_fft) {
    const ser_geometry *g = geometry_of(n_fft);
    if (!g) return 0;
    return ALIGNMENT + aligned(sizeof(ser_logmel)) + aligned(carry_floats(g) * sizeof(float)) +
           (size_t)(5 * g->n_fft / 2 + 1 + g->n_mels) * MOST_LANES * sizeof(float);
}

ser_status ser_logmel_init(void *memory, size_t bytes, int n_fft, ser_isa isa, ser_logmel **logmel) {
    const ser_geometry *g = geometry_of(n_fft);
    unsigned char *at = memory;
    ser_logmel *s;
    if (!memory || !logmel || !g || bytes < ser_logmel_size(n_fft) || !ser_isa_available(isa)) return SER_E_ARGUMENT;
    memset(memory, 0, ser_logmel_size(n_fft));
    isa = ser_isa_resolve(isa);
    at += (ALIGNMENT - (uintptr_t)at % ALIGNMENT) % ALIGNMENT;
    s = (ser_logmel *)(void *)at;
    at += aligned(sizeof *s);
    s->carry = (float *)(void *)at;
    at += aligned(carry_floats(g) * sizeof(float));
    s->work = at;
    s->g = g;
    s->scale = 1;
    s->block = block_plain;
    s->lanes = 1;
#if SER_WITH_VECTORS
    if (isa == SER_ISA_128) s->block = block_128, s->lanes = 4;
#if SER_WITH_AVX
    if (isa == SER_ISA_AVX2) s->block = block_avx2, s->lanes = 8;
    if (isa == SER_ISA_AVX512) s->block = block_avx512, s->lanes = 16;
#endif
#endif
    ser_logmel_rewind(s);
    *logmel = s;
    return SER_OK;
}

int ser_logmel_hop(const ser_logmel *s) { return s->g->hop; }
int ser_logmel_mels(const ser_logmel *s) { return s->g->n_mels; }
