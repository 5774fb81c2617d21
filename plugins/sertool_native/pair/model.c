/* $id: see $prefix.h. Do not edit: sertool writes this from its own sources in plain C
 * and from the weights in $weights, sha256 $sha.
 * Licence of the weights: $licence. Of the code: MIT, the sertool developers.
 */
#include "$prefix.h"

#include <math.h>
#include <string.h>

/* ---- sertool's plain C: what its files need, then the files as they are ---------------------------------------- */

#define SER_LINKAGE static
#define SER_CHUNK 32 /* only wide kernels benefit from more */
#define RADIX_3 0

#define ser_status ${prefix}_status
#define SER_OK ${PREFIX}_OK
#define SER_E_ARGUMENT ${PREFIX}_E_ARGUMENT
#define SER_E_SHORT ${PREFIX}_E_SHORT
#define SER_E_VALUE ${PREFIX}_E_VALUE
#define SER_E_SPACE ${PREFIX}_E_ARGUMENT /* does not occur */
#define SER_E_LENGTH ${PREFIX}_E_LENGTH

typedef struct ser_logmel ser_logmel;
typedef struct ser_wav2small ser_wav2small;

$statistics

$sources

/* ---- weights -------------------------------------------------------------------------------------------------- */

$arrays

static const ser_network network = {
    $count, $flags,
    {$convolutions},
    $mix, $sof, $lin,
    head_weight, head_bias,
};

const char ${prefix}_names[${PREFIX}_OUTPUTS][$longest] = {$names};

/* ---- memory --------------------------------------------------------------------------------------------------- */

typedef $element element;

/* The engine and everything it points to. */
typedef struct memory {
    ser_wav2small engine;
    ser_logmel logmel;
    ser_pool pool;
    float carry[98]; /* the previous sample, a frame, one more sample, half a frame of padding */
    float work[5 * N_FFT / 2 + 1 + SER_MELS];
    float frames[3][1 + SER_MELS + 1];
    element fine[3][3][(1 + SER_MELS + 1) * SER_CHANNELS];
    element coarse[4][3][(1 + SER_COARSE + 2) * SER_CHANNELS];
    element last[(1 + SER_COARSE + 2) * SER_CHANNELS];
    element own[SER_CHANNELS * SER_ROW];
    element borders[(SER_CHANNELS - 1) * SER_ROW];
    element queue[SER_BATCH * SER_ROW];
    element mixed[SER_WIDTH];
} memory;

/* Does not compile if ${PREFIX}_BYTES is too small. */
typedef char memory_fits[sizeof(memory) <= sizeof($prefix) ? 1 : -1];

static void make_ring(ser_ring *r, void *slots, size_t row, int capacity) {
    r->slots = slots;
    r->row = row;
    r->capacity = capacity;
}

void ${prefix}_init($prefix *engine) {
    memory *m = (memory *)(void *)engine;
    ser_wav2small *e = &m->engine;
    int i;
    memset(m, 0, sizeof *m);
    m->logmel.g = &ser_geometry_64;
    m->logmel.block = block_plain;
    m->logmel.lanes = 1;
    m->logmel.scale = 1;
    m->logmel.carry = m->carry;
    m->logmel.work = m->work;
    e->network = network;
    e->kernel = &$kernel;
    e->logmel = &m->logmel;
    e->pool = &m->pool;
    make_ring(&e->rings[0], m->frames, sizeof *m->frames, 3);
    for (i = 0; i < 3; i++) make_ring(&e->rings[1 + i], m->fine[i], sizeof *m->fine[i], 3);
    for (i = 0; i < 4; i++) make_ring(&e->rings[POOLING + 1 + i], m->coarse[i], sizeof *m->coarse[i], 3);
    make_ring(&e->rings[MIXING], m->last, sizeof m->last, 1);
    e->own = (unsigned char *)m->own;
    e->borders = (unsigned char *)m->borders;
    e->queue = (unsigned char *)m->queue;
    e->mixed = (unsigned char *)m->mixed;
    ser_wav2small_reset(e);
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

static ser_wav2small *inside($prefix *engine) { return engine ? &((memory *)(void *)engine)->engine : NULL; }

${prefix}_status ${prefix}_push($prefix *engine, const float *samples, size_t n) {
    return ser_wav2small_push(inside(engine), samples, n);
}

${prefix}_status ${prefix}_next($prefix *engine) { return ser_wav2small_next(inside(engine)); }

${prefix}_status ${prefix}_embedding($prefix *engine, float *out) { return ser_wav2small_embedding(inside(engine), out); }

${prefix}_status ${prefix}_finish($prefix *engine, float *out) { return ser_wav2small_finish(inside(engine), out); }

${prefix}_status ${prefix}_run($prefix *engine, const float *samples, size_t n, float *out) {
    return ser_wav2small_run(inside(engine), samples, n, out);
}

void ${prefix}_reset($prefix *engine) {
    if (engine) ser_wav2small_reset(inside(engine));
}
