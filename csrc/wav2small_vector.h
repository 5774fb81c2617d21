/* The kernels of wav2small_vector.c. */
#ifndef SER_WAV2SMALL_VECTOR_H
#define SER_WAV2SMALL_VECTOR_H

#include "engine.h"
#include "isa.h"

#if SER_WITH_VECTORS
extern const ser_kernel ser_kernel_128;
#if SER_WITH_MADD
extern const ser_kernel ser_kernel_int8_128;
#endif
#if SER_WITH_AVX
extern const ser_kernel ser_kernel_avx2, ser_kernel_avx512;
extern const ser_kernel ser_kernel_int8_avx2, ser_kernel_vnni;
#endif
#endif

#endif
