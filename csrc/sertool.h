/* sertool's front-end in C: what turns samples into the numbers a model reads.
 *
 * C99, no dependency but libc's memcpy, memmove and memset, and sqrt; no allocation, no globals, no files.
 * Every object lives in memory of the caller's: ask for its size, hand over that many bytes, aligned as malloc
 * aligns them, and keep them until you have done with the object. There is nothing to free. An object may be used
 * by one thread at a time; different objects do not share anything.
 *
 * Samples are mono float at 16 kHz, full scale 1. Shapes stand behind the pointers: [frames][n_mels] is frames rows
 * of n_mels numbers, row after row.
 */
#ifndef SERTOOL_H
#define SERTOOL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ser_status {
    SER_OK = 0,
    SER_E_ARGUMENT = 1, /* a null pointer, an unknown n_fft or instruction set, too little memory */
    SER_E_SHORT = 2,    /* fewer samples than reflect padding needs: n_fft / 2 + 1 */
    SER_E_VALUE = 3,    /* a sample is NaN, infinite or beyond +-1e12; nothing of that push was used */
    SER_E_SPACE = 4     /* the output is too small; nothing of that push was used */
} ser_status;

/* One line of English, for ever valid. */
const char *ser_status_text(ser_status status);

/* ---- instruction sets -------------------------------------------------------------------------------------------
 * Plain C is the reference. The others run the same operations in the same order on several frames at once and,
 * compiled without floating-point contraction (-ffp-contract=off), give the same bits.
 */
typedef enum ser_isa {
    SER_ISA_BEST = 0, /* the widest that this build has and this processor can */
    SER_ISA_PLAIN = 1,
    SER_ISA_128 = 2, /* 4 floats: SSE2, NEON */
    SER_ISA_AVX2 = 3,
    SER_ISA_AVX512 = 4
} ser_isa;

/* 1 if it can be used here, else 0. */
int ser_isa_available(ser_isa isa);

/* ---- utterance statistics ---------------------------------------------------------------------------------------
 * Mean and scale of a recording in one pass, in double, the same bits however it is cut into pushes.
 */
typedef struct ser_statistics {
    uint64_t samples;
    float shift;    /* the first sample: sums are taken around it, so that a large offset costs no digits */
    double sum[8];  /* of the samples i with i % 8 == lane */
    double square[8];
} ser_statistics;

void ser_statistics_init(ser_statistics *s);

/* samples: [n], read only during the call. SER_OK or SER_E_VALUE. */
ser_status ser_statistics_push(ser_statistics *s, const float *samples, size_t n);

/* *mean and *scale = 1 / sqrt(mean((x - mean)^2) + 1e-7): (x - mean) * scale is the normalised recording.
 * SER_E_SHORT if nothing was pushed. */
ser_status ser_statistics_finish(const ser_statistics *s, float *mean, float *scale);

/* ---- LogMel -----------------------------------------------------------------------------------------------------
 * n_fft 64: hop 32, 26 mels; n_fft 144: hop 72, 64 mels. Periodic Hann, centred, reflect padding, power spectrum,
 * Slaney mel filters from 0 to 8000 Hz, 10 log10(max(mel, 1e-10)). 1 + n / hop frames for n samples; a frame
 * depends on its own n_fft samples only, so the result has the same bits however the samples are cut into pushes.
 */
typedef struct ser_logmel ser_logmel;

/* Bytes to hand to ser_logmel_init: 0 for an unknown n_fft. Does not depend on the length of the recording. */
size_t ser_logmel_size(int n_fft);

/* Make a LogMel in memory [bytes]; *logmel points into it. SER_OK or SER_E_ARGUMENT. */
ser_status ser_logmel_init(void *memory, size_t bytes, int n_fft, ser_isa isa, ser_logmel **logmel);

int ser_logmel_hop(const ser_logmel *logmel);
int ser_logmel_mels(const ser_logmel *logmel);

/* Normalise what is pushed from now on to (x - mean) * scale; without this call mean is 0 and scale 1.
 * SER_OK, or SER_E_VALUE for a mean or scale that no recording has. */
ser_status ser_logmel_normalise(ser_logmel *logmel, float mean, float scale);

/* Frames that a push of n more samples would write. */
size_t ser_logmel_ready(const ser_logmel *logmel, size_t n);

/* samples: [n], read only during the call. out: [capacity][n_mels]; *frames rows are written.
 * SER_OK, SER_E_VALUE or SER_E_SPACE. */
ser_status ser_logmel_push(ser_logmel *logmel, const float *samples, size_t n, float *out, size_t capacity,
                           size_t *frames);

/* The last frame, which reaches over the end, into out: [n_mels]. Afterwards, SER_E_SHORT or not, the LogMel is as
 * after init, ready for another recording, its normalisation kept. SER_OK, SER_E_ARGUMENT or SER_E_SHORT. */
ser_status ser_logmel_finish(ser_logmel *logmel, float *out);

/* ---- voice activity ---------------------------------------------------------------------------------------------
 * The probability that somebody speaks, every 10 ms: a recurrent network of some 10,000 weights over LogMel (n_fft 64).
 * ceil(n / 160) probabilities for n samples, each told once the 0.2 s after it are there (at the latest 0.22 s after its
 * end), from what has been heard so far. What the level is does not matter, nor how the samples are cut into pushes: the
 * bits are the same.
 */
typedef struct ser_vad ser_vad;

enum {
    SER_VAD_FRAME = 160, /* samples that a probability stands for */
    SER_VAD_REST = 22    /* no more probabilities than these are left for ser_vad_finish */
};

/* Bytes to hand to ser_vad_init. Does not depend on the length of the recording. */
size_t ser_vad_size(void);

/* Make a detector in memory [bytes]; *vad points into it. SER_OK or SER_E_ARGUMENT. */
ser_status ser_vad_init(void *memory, size_t bytes, ser_isa isa, ser_vad **vad);

/* Probabilities that a push of n more samples would write. */
size_t ser_vad_ready(const ser_vad *vad, size_t n);

/* samples: [n], read only during the call. out: [capacity]; *frames probabilities, 0 to 1, are written.
 * SER_OK, SER_E_ARGUMENT, SER_E_VALUE or SER_E_SPACE. */
ser_status ser_vad_push(ser_vad *vad, const float *samples, size_t n, float *out, size_t capacity, size_t *frames);

/* The probabilities still missing into out: [capacity], *frames of them, at most SER_VAD_REST. Afterwards the detector
 * is as after init, ready for another recording. SER_OK, or SER_E_ARGUMENT or SER_E_SPACE, and nothing has changed. */
ser_status ser_vad_finish(ser_vad *vad, float *out, size_t capacity, size_t *frames);

#ifdef __cplusplus
}
#endif
#endif
