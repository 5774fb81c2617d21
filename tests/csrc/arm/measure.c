/* Stack and instructions of an exported pair over a second of noise on QEMU's mps2-an500, -icount shift=0: there a
 * nanosecond is an instruction, which says nothing of a processor's time. -DMODEL, -DHEADER, -DOUTPUTS as run_pair.c.
 */
#include HEADER

#include <stdio.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define CALL(name) JOIN(MODEL, name)

enum { SAMPLES = 16000, DEEPEST = 65536, PAINT = 0x5a };

static MODEL engine;
static float samples[SAMPLES];

/* QEMU's board counts in 25 MHz: 40 instructions a step. */
static uint32_t counted(void) { return *(volatile uint32_t *)0x40028018; }

int main(void) {
    float out[OUTPUTS];
    uint32_t seed = 1;
    uint32_t start, end;
    volatile unsigned char *at, *top;
    int i, status;
    for (i = 0; i < SAMPLES; i++) {
        seed = seed * 1664525u + 1013904223u;
        samples[i] = (float)(seed >> 8) / 16777216.0f - 0.5f;
    }
    CALL(_init)(&engine);
    __asm volatile("mov %0, sp" : "=r"(top));
    for (at = top - DEEPEST; at < top; at++) *at = PAINT;
    start = counted();
    status = CALL(_run)(&engine, samples, SAMPLES, out);
    end = counted();
    for (at = top - DEEPEST; *at == PAINT; at++) {
    }
    printf("%d %d %.1f %d\n", status, (int)(top - at), (double)(end - start) * 40e-6, (int)sizeof engine);
    return 0;
}
