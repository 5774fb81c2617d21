/* Vectors of a Cortex-M, and what comes before newlib's start (rdimon.specs: files and text by semihosting). */
extern unsigned char __stack[];
extern void _start(void);

void reset(void) {
    *(volatile unsigned *)0xe000ed88 |= 0xfu << 20; /* CPACR: let the floating-point unit work */
    __asm volatile("dsb\n isb");
    _start();
}

static void fault(void) {
    for (;;) __asm volatile("bkpt 0xff"); /* QEMU stops: nobody debugs */
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)__stack, reset, fault, fault, fault, fault, fault};
