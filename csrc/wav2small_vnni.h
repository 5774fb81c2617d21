/* Wav2Small's layers in int8 for AVX-512 VNNI, which adds four products of uint8 and int8 to each of 16 sums. The sums
 * are exact and the other operations are in the same order as in plain C, so outputs are bit-identical to it. Included
 * by wav2small_vector.c.
 *
 * Activations are stored as in plain C, 13 channels per cell. The 39 inputs of a convolution's three mel rows are
 * contiguous; they are read as ten groups of four, of which the last input has weight 0.
 */
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

enum { QUADS = 10, MIX_QUADS = 4, TOKEN_QUADS = 43, BLOCKS = SER_ROW / 16 };

typedef struct packed_int8 {
    float first[9][16], first_bias[16];                            /* [tap][out] */
    int8_t conv[SER_LAYERS - 1][3][QUADS][16][4];                  /* [layer][time][in / 4][out][in % 4] */
    float conv_scale[SER_LAYERS - 1][16], conv_bias[SER_LAYERS - 1][16];
    int8_t mix[MIX_QUADS][16][4];                                  /* [in / 4][out][in % 4] */
    float mix_scale[16], mix_bias[16];
    int8_t tokens[BLOCKS][TOKEN_QUADS][2][16][4];                  /* [place / 16][in / 4][sof, lin][place % 16][in % 4] */
    int32_t offset[BLOCKS][2][16];                                 /* -128 times the sum of the weights */
    float token_scale[BLOCKS][2][16];
} packed_int8;

/* packed: zeroed by the caller. */
static void pack_int8(const ser_network *n, void *packed) {
    packed_int8 *p = packed;
    int layer, o, i, t, which, place;
    for (o = 0; o < SER_CHANNELS; o++) {
        for (t = 0; t < 9; t++) p->first[t][o] = ((const float *)n->conv[0].weight)[SER_CHANNELS * t + o];
        p->first_bias[o] = n->conv[0].bias[o];
        for (layer = 0; layer < SER_LAYERS - 1; layer++) {
            const ser_layer *l = &n->conv[layer + 1];
            const int8_t *w = (const int8_t *)l->weight + 9 * SER_CHANNELS * o; /* [3 time][3 mel * 13 in] */
            for (t = 0; t < 3; t++)
                for (i = 0; i < 3 * SER_CHANNELS; i++)
                    p->conv[layer][t][i / 4][o][i % 4] = w[3 * SER_CHANNELS * t + i];
            p->conv_scale[layer][o] = l->scale[o];
            p->conv_bias[layer][o] = l->bias[o];
        }
        for (i = 0; i < SER_CHANNELS; i++)
            p->mix[i / 4][o][i % 4] = ((const int8_t *)n->mix.weight)[SER_CHANNELS * o + i];
        p->mix_scale[o] = n->mix.scale[o];
        p->mix_bias[o] = n->mix.bias[o];
    }
    for (which = 0; which < 2; which++)
        for (place = 0; place < SER_ROW; place++) {
            const ser_layer *l = which ? &n->lin : &n->sof;
            const int8_t *w = (const int8_t *)l->weight + SER_WIDTH * channel_at(place);
            for (i = 0; i < SER_WIDTH; i++) {
                p->tokens[place / 16][i / 4][which][place % 16][i % 4] = w[i];
                p->offset[place / 16][which][place % 16] -= 128 * w[i];
            }
            p->token_scale[place / 16][which][place % 16] = l->scale[channel_at(place)];
        }
}

/* Load the four bytes at p into every lane. */
VNNI static inline __m512i quad_at(const void *p) {
    int32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return _mm512_set1_epi32(bytes);
}

/* clipped() of wav2small_plain.c in 16 lanes. */
VNNI static inline __m128i clipped_vnni(__m512 x) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_setzero_ps()), _mm512_set1_ps(255.0f));
    return _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x + _mm512_set1_ps(0.5f)));
}

/* Store the 13 channels of cell m. */
VNNI static inline void store_cell(unsigned char *out, int m, __m128i cell) {
    _mm_mask_storeu_epi8(out + SER_CHANNELS * m, 0x1fff, cell);
}

VNNI static void first_vnni(const ser_network *n, const void *packed, const float *const *in, void *const *out) {
    const packed_int8 *w = packed;
    unsigned char *y = (unsigned char *)out[0] + SER_CHANNELS;
    int half, tap, m;
    (void)n;
    for (half = 0; half < SER_MELS; half += 13) {
        __m512 sum[13];
        UNROLL for (m = 0; m < 13; m++) sum[m] = _mm512_loadu_ps(w->first_bias);
        for (tap = 0; tap < 9; tap++) {
            const float *x = in[tap / 3] + half + tap % 3;
            const __m512 v = _mm512_loadu_ps(w->first[tap]);
            UNROLL for (m = 0; m < 13; m++) sum[m] = sum[m] + _mm512_set1_ps(x[m]) * v;
        }
        UNROLL for (m = 0; m < 13; m++) store_cell(y, half + m, clipped_vnni(sum[m]));
    }
}

VNNI static void convolve_vnni(const ser_network *n, const void *packed, void *work, int layer, int mels,
                               const void *const *in, void *const *out) {
    const packed_int8 *p = packed;
    const __m512 scale = _mm512_loadu_ps(p->conv_scale[layer - 1]), bias = _mm512_loadu_ps(p->conv_bias[layer - 1]);
    unsigned char *y = (unsigned char *)out[0] + SER_CHANNELS;
    int first, t, q, m;
    (void)n, (void)work;
    for (first = 0; first < mels; first += 13) {
        __m512i sum[13];
        UNROLL for (m = 0; m < 13; m++) sum[m] = _mm512_setzero_si512();
        for (t = 0; t < 3; t++)
            for (q = 0; q < QUADS; q++) {
                const unsigned char *x = (const unsigned char *)in[t] + SER_CHANNELS * first + 4 * q;
                const __m512i w = _mm512_loadu_si512(p->conv[layer - 1][t][q]);
                UNROLL for (m = 0; m < 13; m++)
                    sum[m] = _mm512_dpbusd_epi32(sum[m], quad_at(x + SER_CHANNELS * m), w);
            }
        UNROLL for (m = 0; m < 13; m++)
            store_cell(y, first + m, clipped_vnni(_mm512_cvtepi32_ps(sum[m]) * scale + bias));
    }
}

VNNI static void shrink_vnni(const void *const *in, void *out) {
    unsigned char *y = (unsigned char *)out + SER_CHANNELS;
    __m128i left, here, right;
    int m;
#define CELL_AT(m) \
    _mm_max_epu8(_mm_max_epu8(_mm_loadu_si128((const void *)((const char *)in[0] + SER_CHANNELS * (m))), \
                              _mm_loadu_si128((const void *)((const char *)in[1] + SER_CHANNELS * (m)))), \
                 _mm_loadu_si128((const void *)((const char *)in[2] + SER_CHANNELS * (m))))
    left = CELL_AT(0);
    for (m = 0; m < SER_COARSE; m++) {
        here = CELL_AT(2 * m + 1);
        right = CELL_AT(2 * m + 2);
        store_cell(y, m, _mm_max_epu8(_mm_max_epu8(left, here), right));
        left = right;
    }
#undef CELL_AT
}

VNNI static void mix_vnni(const ser_network *n, const void *packed, const void *in, void *out) {
    const packed_int8 *p = packed;
    const unsigned char *x = (const unsigned char *)in + SER_CHANNELS;
    const __m512 scale = _mm512_loadu_ps(p->mix_scale), bias = _mm512_loadu_ps(p->mix_bias);
    const __m512 most = _mm512_set1_ps(127.0f), least = _mm512_set1_ps(-127.0f);
    int8_t mixed[SER_COARSE][16], *y = out;
    int m, q, c;
    (void)n;
    for (m = 0; m < SER_COARSE; m++) {
        __m512i sum = _mm512_setzero_si512();
        __m512 v, half;
        for (q = 0; q < MIX_QUADS; q++)
            sum = _mm512_dpbusd_epi32(sum, quad_at(x + SER_CHANNELS * m + 4 * q), _mm512_loadu_si512(p->mix[q]));
        v = _mm512_cvtepi32_ps(sum) * scale + bias;
        v = _mm512_min_ps(_mm512_max_ps(v, least), most);
        half = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), _mm512_set1_ps(0.5f),
                                    _mm512_set1_ps(-0.5f));
        _mm_storeu_si128((__m128i *)(void *)mixed[m], _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v + half)));
    }
    for (c = 0; c < SER_CHANNELS; c++)
        for (m = 0; m < SER_COARSE; m++) *y++ = mixed[m][c];
}

/* work: [SER_BATCH][SER_ROW], for the rows plus 128 (dpbusd needs unsigned activations; offset undoes it). */
VNNI static void tokens_vnni(const ser_network *n, const void *packed, void *work, const void *rows, int count,
                             ser_pool *pool) {
    const packed_int8 *p = packed;
    unsigned char *x = work;
    int block, i, r;
    (void)n;
    for (i = 0; i < SER_BATCH * SER_ROW; i += 64)
        _mm512_storeu_si512(x + i, _mm512_xor_si512(_mm512_loadu_si512((const char *)rows + i), _mm512_set1_epi8(-128)));
    for (block = 0; block < BLOCKS; block++) {
        __m512i s[SER_BATCH], l[SER_BATCH];
        __m512 logit[SER_BATCH], value[SER_BATCH];
        UNROLL for (r = 0; r < SER_BATCH; r++) {
            s[r] = _mm512_loadu_si512(p->offset[block][0]);
            l[r] = _mm512_loadu_si512(p->offset[block][1]);
        }
        for (i = 0; i < TOKEN_QUADS; i++) {
            const __m512i sof = _mm512_loadu_si512(p->tokens[block][i][0]);
            const __m512i lin = _mm512_loadu_si512(p->tokens[block][i][1]);
            UNROLL for (r = 0; r < SER_BATCH; r++) {
                const __m512i here = quad_at(x + SER_ROW * r + 4 * i);
                s[r] = _mm512_dpbusd_epi32(s[r], here, sof);
                l[r] = _mm512_dpbusd_epi32(l[r], here, lin);
            }
        }
        UNROLL for (r = 0; r < SER_BATCH; r++) {
            logit[r] = _mm512_cvtepi32_ps(s[r]) * _mm512_loadu_ps(p->token_scale[block][0]);
            value[r] = _mm512_cvtepi32_ps(l[r]) * _mm512_loadu_ps(p->token_scale[block][1]);
        }
        pool_add_avx512(pool, 16 * block, logit, value, count);
    }
}

const ser_kernel ser_kernel_vnni = {1,          SER_CHANNELS,  1,           sizeof(packed_int8), SER_BATCH * SER_ROW,
                                    pack_int8,  first_vnni,    convolve_vnni, shrink_vnni,       mix_vnni,
                                    tokens_vnni};
#undef VNNI
