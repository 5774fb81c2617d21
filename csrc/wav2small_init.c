/* Memory for an engine: choose the kernel, reserve what it needs. */
#include "wav2small.h"
#include "wav2small_float.h"
#include "wav2small_int8.h"
#include "wav2small_vector.h"
#include "weights.h"

#include <string.h>

enum { ALIGNMENT = 64 };

static const ser_kernel *kernel_of(const ser_network *n, ser_isa isa) {
    const int int8 = (n->flags & SER_INT8) != 0;
#if SER_WITH_AVX
    isa = ser_isa_resolve(isa);
    if (isa == SER_ISA_AVX512) {
        if (!int8) return &ser_kernel_avx512;
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512vnni"))
            return &ser_kernel_vnni;
    }
    if ((isa == SER_ISA_AVX512 || isa == SER_ISA_AVX2) && ser_isa_available(SER_ISA_AVX2))
        return int8 ? &ser_kernel_int8_avx2 : &ser_kernel_avx2;
    if (isa != SER_ISA_PLAIN) return int8 ? &ser_kernel_int8_128 : &ser_kernel_128;
#elif SER_WITH_VECTORS
    if (isa != SER_ISA_PLAIN && !int8) return &ser_kernel_128;
#if SER_WITH_MADD
    if (isa != SER_ISA_PLAIN) return &ser_kernel_int8_128;
#endif
#endif
    (void)isa;
    return int8 ? &ser_kernel_int8 : &ser_kernel_float;
}

/* Return the number of cells in an input row of a stage. */
static int cells(int stage) { return stage <= POOLING ? 1 + SER_MELS + 1 : 1 + SER_COARSE + 2; }

/* Reserve `bytes` at offset *at of base and advance *at. With base NULL, only count. */
static void *part(unsigned char *base, size_t *at, size_t bytes) {
    void *here = base ? base + *at : NULL;
    *at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return here;
}

/* Lay out the engine and everything it points to, contiguously from base. Return the number of bytes. With base NULL,
 * only count. */
static size_t lay_out(unsigned char *base, const ser_kernel *k, ser_wav2small *e, void **logmel) {
    size_t at = 0, largest = 0;
    int stage;
    ser_wav2small nowhere;
    part(base, &at, sizeof *e);
    if (!base) e = &nowhere;
    *logmel = part(base, &at, ser_logmel_size(N_FFT));
    for (stage = 0; stage < STAGES; stage++) {
        ser_ring *r = &e->rings[stage];
        r->row = stage ? (size_t)(cells(stage) * k->cell * k->bytes) : cells(stage) * sizeof(float);
        r->row = (r->row + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        r->capacity = 2 * k->group + 1 > 3 ? 2 * k->group + 1 : 3;
        r->slots = part(base, &at, r->row * (size_t)r->capacity);
        if (r->row > largest) largest = r->row;
    }
    e->own = part(base, &at, (size_t)(SER_CHANNELS * SER_ROW * k->bytes));
    e->borders = part(base, &at, (size_t)((SER_CHANNELS - 1) * SER_ROW * k->bytes));
    e->queue = part(base, &at, (size_t)(SER_BATCH * SER_ROW * k->bytes));
    e->mixed = part(base, &at, (size_t)(SER_WIDTH * k->bytes));
    e->dummy = part(base, &at, largest);
    e->pool = part(base, &at, sizeof *e->pool);
    e->packed = part(base, &at, k->packed);
    e->work = part(base, &at, k->work);
    return at;
}

size_t ser_wav2small_size(const void *weights, size_t bytes, ser_isa isa) {
    ser_network network;
    void *logmel;
    if (!ser_isa_available(isa) || ser_network_open(weights, bytes, &network) != SER_OK) return 0;
    return ALIGNMENT + lay_out(NULL, kernel_of(&network, isa), NULL, &logmel);
}

ser_status ser_wav2small_init(void *memory, size_t size, const void *weights, size_t bytes, ser_isa isa,
                              ser_wav2small **engine) {
    unsigned char *at = memory;
    const ser_kernel *kernel;
    ser_network network;
    ser_wav2small *e;
    ser_status status;
    void *logmel;
    if (!memory || !engine || !ser_isa_available(isa)) return SER_E_ARGUMENT;
    status = ser_network_open(weights, bytes, &network);
    if (status != SER_OK) return status;
    kernel = kernel_of(&network, isa);
    if (size < ALIGNMENT + lay_out(NULL, kernel, NULL, &logmel)) return SER_E_ARGUMENT;
    at += (ALIGNMENT - (uintptr_t)at % ALIGNMENT) % ALIGNMENT;
    e = (ser_wav2small *)(void *)at;
    memset(e, 0, lay_out(NULL, kernel, NULL, &logmel));
    lay_out(at, kernel, e, &logmel);
    e->network = network;
    e->kernel = kernel;
    status = ser_logmel_init(logmel, ser_logmel_size(N_FFT), N_FFT, isa, &e->logmel);
    if (status != SER_OK) return status;
    if (kernel->packed) kernel->pack(&e->network, e->packed);
    ser_wav2small_reset(e);
    *engine = e;
    return SER_OK;
}

int ser_wav2small_outputs(const ser_wav2small *e) { return e->network.outputs; }
