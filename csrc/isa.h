/* Instruction sets: which ones are compiled in, and which one runs. Define SER_PLAIN to compile the plain C only. */
#ifndef SER_ISA_H
#define SER_ISA_H

#include "sertool.h"

/* Vector extensions with shuffles: gcc 12 or clang, on processors that have 128-bit vectors. */
#if !defined(SER_PLAIN) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)) && \
    (defined(__x86_64__) || defined(__aarch64__) || defined(__wasm_simd128__))
#define SER_WITH_VECTORS 1
#else
#define SER_WITH_VECTORS 0
#endif

/* int8 by products of 16-bit numbers, on 128-bit vectors. */
#if SER_WITH_VECTORS && (defined(__x86_64__) || defined(__wasm_simd128__))
#define SER_WITH_MADD 1
#else
#define SER_WITH_MADD 0
#endif

/* AVX2 and AVX-512, chosen when the program runs. */
#if SER_WITH_VECTORS && defined(__x86_64__)
#define SER_WITH_AVX 1
#else
#define SER_WITH_AVX 0
#endif

/* Return the widest available instruction set for SER_ISA_BEST, any other value as it is. */
ser_isa ser_isa_resolve(ser_isa isa);

#endif
