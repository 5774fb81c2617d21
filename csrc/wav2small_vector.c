/* Wav2Small's layers for SSE2, NEON or WebAssembly, AVX2 and AVX-512: instantiates wav2small_kernel.h and packs its weights. */
#include "wav2small_vector.h"

#if SER_WITH_VECTORS
#if SER_WITH_AVX
#include <immintrin.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#else
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { CELL = 16, GROUP = 4, WORK = (8 + 12) * 13 * CELL * sizeof(float) };

/* Return the channel at a place of the pool: the inverse of ser_place. */
static inline int channel_at(int place) { return place < SER_ROW - 16 ? place : place - (SER_ROW - SER_WIDTH); }

typedef struct packed_weights {
    float first[9][CELL], first_bias[CELL];                   /* [tap][out] */
    float conv[SER_LAYERS - 1][24][SER_CHANNELS][CELL];       /* [layer][6 time x 4 mel][in][out] */
    float conv_bias[SER_LAYERS - 1][CELL];
    float mix[SER_CHANNELS][CELL], mix_bias[CELL];            /* [in][out] */
} packed_weights;

/* Winograd transforms of three weights, with points 0, infinity, 1, -1, 2, -2 and 0, 1, -1, infinity. */
static const double six[6][3] = {{1.0 / 4, 0, 0},
                                 {0, 0, 1},
                                 {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                 {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                 {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                 {1.0 / 24, -1.0 / 12, 1.0 / 6}};
static const double four[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

/* packed: zeroed by the caller. */
static void pack(const ser_network *n, void *packed) {
    packed_weights *p = packed;
    int layer, o, i, t, m, a, b;
    for (o = 0; o < SER_CHANNELS; o++) {
        for (t = 0; t < 9; t++) p->first[t][o] = ((const float *)n->conv[0].weight)[SER_CHANNELS * t + o];
        p->first_bias[o] = n->conv[0].bias[o];
        p->mix_bias[o] = n->mix.bias[o];
        for (i = 0; i < SER_CHANNELS; i++) p->mix[i][o] = ((const float *)n->mix.weight)[SER_CHANNELS * i + o];
    }
    for (layer = 0; layer < SER_LAYERS - 1; layer++)
        for (o = 0; o < SER_CHANNELS; o++) {
            const float *w = (const float *)n->conv[layer + 1].weight + o; /* [3][3][13 in][13 out] */
            p->conv_bias[layer][o] = n->conv[layer + 1].bias[o];
            for (i = 0; i < SER_CHANNELS; i++)
                for (a = 0; a < 6; a++)
                    for (b = 0; b < 4; b++) {
                        double sum = 0;
                        for (t = 0; t < 3; t++)
                            for (m = 0; m < 3; m++) sum += six[a][t] * four[b][m] *
                                       w[SER_CHANNELS * (SER_CHANNELS * (3 * t + m) + i)];
                        p->conv[layer][4 * a + b][i][o] = (float)sum;
                    }
        }
}

#if SER_WITH_MADD
enum { PAIRED = (SER_CHANNELS + 1) / 2, TOKEN_PAIRS = (SER_WIDTH + 1) / 2 };
enum { WORK_MADD = (8 * sizeof(int16_t) + 12 * sizeof(uint32_t)) * 13 * CELL };

/* The transforms times 24 and 2, which makes them whole numbers. */
static const int six_whole[6][3] = {{6, 0, 0}, {0, 0, 24}, {-4, -4, -4}, {-4, 4, -4}, {1, 2, 4}, {1, -2, 4}};
static const int four_whole[4][3] = {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}};

/* int8 weights as int16, in pairs of inputs. */
typedef struct packed_madd {
    float first[9][CELL], first_bias[CELL];                           /* [tap][out] */
    int16_t conv[SER_LAYERS - 1][24][PAIRED][CELL][2];                /* [layer][6 time x 4 mel][in / 2][out][in % 2] */
    float conv_scale[SER_LAYERS - 1][CELL], conv_bias[SER_LAYERS - 1][CELL];
    int16_t mix[PAIRED][CELL][2];                                     /* [in / 2][out][in % 2] */
    float mix_scale[CELL], mix_bias[CELL];
    int16_t tokens[SER_ROW / CELL][TOKEN_PAIRS][2][CELL][2]; /* [place / 16][in / 2][sof, lin][place % 16][in % 2] */
    float token_scale[2][SER_ROW];
} packed_madd;

/* packed: zeroed by the caller. */
static void pack_madd(const ser_network *n, void *packed) {
    packed_madd *p = packed;
    int layer, o, i, t, a, b, which, place;
    for (o = 0; o < SER_CHANNELS; o++) {
        for (t = 0; t < 9; t++) p->first[t][o] = ((const float *)n->conv[0].weight)[SER_CHANNELS * t + o];
        p->first_bias[o] = n->conv[0].bias[o];
        for (layer = 0; layer < SER_LAYERS - 1; layer++) {
            const ser_layer *l = &n->conv[layer + 1];
            const int8_t *w = (const int8_t *)l->weight + 9 * SER_CHANNELS * o; /* [3 time][3 mel][13 in] */
            for (i = 0; i < SER_CHANNELS; i++)
                for (a = 0; a < 6; a++)
                    for (b = 0; b < 4; b++) {
                        int sum = 0;
                        for (t = 0; t < 9; t++)
                            sum += six_whole[a][t / 3] * four_whole[b][t % 3] * w[SER_CHANNELS * t + i];
                        p->conv[layer][4 * a + b][i / 2][o][i % 2] = (int16_t)sum;
                    }
            p->conv_scale[layer][o] = l->scale[o];
            p->conv_bias[layer][o] = l->bias[o];
        }
        for (i = 0; i < SER_CHANNELS; i++)
            p->mix[i / 2][o][i % 2] = ((const int8_t *)n->mix.weight)[SER_CHANNELS * o + i];
        p->mix_scale[o] = n->mix.scale[o];
        p->mix_bias[o] = n->mix.bias[o];
    }
    for (which = 0; which < 2; which++)
        for (place = 0; place < SER_ROW; place++) {
            const ser_layer *l = which ? &n->lin : &n->sof;
            const int8_t *w = (const int8_t *)l->weight + SER_WIDTH * channel_at(place);
            for (i = 0; i < SER_WIDTH; i++) p->tokens[place / CELL][i / 2][which][place % CELL][i % 2] = w[i];
            p->token_scale[which][place] = l->scale[channel_at(place)];
        }
}
#endif

typedef int32_t ivec4 __attribute__((vector_size(16)));
typedef int16_t shorts_128 __attribute__((vector_size(8)));
typedef int16_t wide_128 __attribute__((vector_size(16)));
typedef uint32_t sums_128 __attribute__((vector_size(16)));

#define NAME(x) x##_128
#define LANES 4
#define ivec ivec4
#define ROWS 6
#define PAIRS 3
#if SER_WITH_AVX
#define TARGET
#define vec __m128
#define LOAD(p) _mm_load_ps(p)
#define LOAD_ANY(p) _mm_loadu_ps(p)
#define STORE(p, v) _mm_store_ps(p, v)
#define SPLAT(x) _mm_set1_ps(x)
#define FMA(a, b, c) ((a) * (b) + (c))
#define LARGER(a, b) _mm_max_ps(a, b)
#define SMALLER(a, b) _mm_min_ps(a, b)
#define LOAD_INT(p) ((ivec)_mm_load_si128((const __m128i *)(const void *)(p)))
#define MADD(a, b) ((ivec)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))
#elif defined(__wasm_simd128__)
typedef float floats_128 __attribute__((vector_size(16)));
#define TARGET
#define vec floats_128
#define LOAD(p) ((vec)wasm_v128_load(p))
#define LOAD_ANY(p) ((vec)wasm_v128_load(p))
#define STORE(p, v) wasm_v128_store(p, (v128_t)(v))
#define SPLAT(x) ((vec)wasm_f32x4_splat(x))
#define FMA(a, b, c) ((a) * (b) + (c))
#define LARGER(a, b) ((vec)wasm_f32x4_pmax((v128_t)(a), (v128_t)(b)))
#define SMALLER(a, b) ((vec)wasm_f32x4_pmin((v128_t)(a), (v128_t)(b)))
#define LOAD_INT(p) ((ivec)wasm_v128_load(p))
#define MADD(a, b) ((ivec)wasm_i32x4_dot_i16x8((v128_t)(a), (v128_t)(b)))
#else
#define TARGET
#define vec float32x4_t
#define LOAD(p) vld1q_f32(p)
#define LOAD_ANY(p) vld1q_f32(p)
#define STORE(p, v) vst1q_f32(p, v)
#define SPLAT(x) vdupq_n_f32(x)
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define LARGER(a, b) vmaxq_f32(a, b)
#endif
#include "wav2small_kernel.h"

#if SER_WITH_AVX
typedef int32_t ivec8 __attribute__((vector_size(32)));
typedef int16_t shorts_avx2 __attribute__((vector_size(16)));
typedef int16_t wide_avx2 __attribute__((vector_size(32)));
typedef uint32_t sums_avx2 __attribute__((vector_size(32)));
typedef int32_t ivec16 __attribute__((vector_size(64)));

#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
#define vec __m256
#define ivec ivec8
#define ROWS 6
#define PAIRS 3
#define LOAD(p) _mm256_load_ps(p)
#define LOAD_ANY(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_store_ps(p, v)
#define SPLAT(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define LARGER(a, b) _mm256_max_ps(a, b)
#define SMALLER(a, b) _mm256_min_ps(a, b)
#define LOAD_INT(p) ((ivec)_mm256_load_si256((const __m256i *)(const void *)(p)))
#define MADD(a, b) ((ivec)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#include "wav2small_kernel.h"

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f")))
#define LANES 16
#define vec __m512
#define ivec ivec16
#define ROWS 12
#define PAIRS 7
#define LOAD(p) _mm512_load_ps(p)
#define LOAD_ANY(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_store_ps(p, v)
#define SPLAT(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define LARGER(a, b) _mm512_max_ps(a, b)
#include "wav2small_kernel.h"
#include "wav2small_vnni.h"
#endif
#endif
