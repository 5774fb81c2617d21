/* Which instruction sets this processor has. */
#include "isa.h"

int ser_isa_available(ser_isa isa) {
    switch (isa) {
    case SER_ISA_BEST:
    case SER_ISA_PLAIN: return 1;
    case SER_ISA_128: return SER_WITH_VECTORS;
#if SER_WITH_AVX
    case SER_ISA_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case SER_ISA_AVX512: return __builtin_cpu_supports("avx512f") != 0;
#else
    case SER_ISA_AVX2:
    case SER_ISA_AVX512: return 0;
#endif
    }
    return 0;
}

ser_isa ser_isa_resolve(ser_isa isa) {
    if (isa != SER_ISA_BEST) return isa;
    if (ser_isa_available(SER_ISA_AVX512)) return SER_ISA_AVX512;
    if (ser_isa_available(SER_ISA_AVX2)) return SER_ISA_AVX2;
    return ser_isa_available(SER_ISA_128) ? SER_ISA_128 : SER_ISA_PLAIN;
}
