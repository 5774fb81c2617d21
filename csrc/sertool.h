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
    SER_E_ARGUMENT = 1, /* a null pointer, an unknown n_fft or instruction set, a parameter out of its range, too little
                           memory */
    SER_E_SHORT = 2,    /* fewer samples than reflect padding needs: n_fft / 2 + 1 */
    SER_E_VALUE = 3,    /* a sample is NaN, infinite or beyond +-1e12, a probability not within 0 and 1; nothing of
                           that push was used */
    SER_E_SPACE = 4,    /* the output is too small; nothing of that push was used */
    SER_E_WEIGHTS = 5,  /* not the weights of such a network, or damaged */
    SER_E_LENGTH = 6    /* another number of samples than before: than in the first pass, than were pushed */
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
 * n_fft 64: hop 32, 26 mels; n_fft 144: hop 72, 58 mels. Periodic Hann, centred, reflect padding, power spectrum,
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
 * bits are the same. A frame whose samples move by no more than 4 / 32768 (zeros, dithered zeros, an offset) has
 * probability 0, whatever was said before it.
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

/* ---- segments of speech -----------------------------------------------------------------------------------------
 * Probabilities, one per 160 samples (10 ms), to segments. Speech begins at `threshold` and ends where it falls below
 * `lower`, once `shortest_silence_s` have passed from there without reaching `threshold` again. Shorter speech than
 * `shortest_speech_s` is dropped, the rest lengthened by `padding_s` on both sides, at most to the middle of a pause
 * and the ends of the recording. The rules are those of silero-vad's get_speech_timestamps, without its limit on a
 * segment's length; what runs at the end of the recording ends there.
 */
typedef struct ser_vad_parameters {
    double threshold, lower;                                 /* 0 <= lower <= threshold <= 1 */
    double shortest_speech_s, shortest_silence_s, padding_s; /* seconds, 0 to 1e9 */
} ser_vad_parameters;

/* 0.5, 0.35; 0.25, 0.1, 0.03. */
ser_vad_parameters ser_vad_parameters_default(void);

/* Samples start to end - 1 of the recording. */
typedef struct ser_segment {
    uint64_t start, end;
} ser_segment;

typedef struct ser_segmenter {
    float threshold, lower;
    uint64_t speech, silence, padding; /* samples */
    uint64_t position;                 /* samples that the probabilities so far stand for */
    uint64_t start, end;               /* of speech, of which `end` may not be the last */
    ser_segment last;                  /* with padding before it, without any behind it */
    int running, ending, held;         /* 1 if start, end, last mean anything */
} ser_segmenter;

/* SER_OK, or SER_E_ARGUMENT for parameters out of their ranges. */
ser_status ser_segmenter_init(ser_segmenter *s, const ser_vad_parameters *parameters);

/* probabilities: [n], read only during the call. out: [capacity]; the *segments that became certain are written, at
 * most n / 2 + 2. They come in order, do not overlap, and are the same however the probabilities are cut into pushes.
 * SER_OK, SER_E_ARGUMENT, SER_E_VALUE or SER_E_SPACE. */
ser_status ser_segmenter_push(ser_segmenter *s, const float *probabilities, size_t n, ser_segment *out,
                              size_t capacity, size_t *segments);

/* The rest, of a recording of so many samples, the last 160 or fewer of which the last probability stood for; then
 * ready for another recording. out: [2]. SER_OK, SER_E_ARGUMENT, or SER_E_LENGTH, and nothing has changed. */
ser_status ser_segmenter_finish(ser_segmenter *s, uint64_t samples, ser_segment *out, size_t *segments);

/* The first sample that a segment still to come may have. */
uint64_t ser_segmenter_uncertain(const ser_segmenter *s);

/* ---- Wav2Small --------------------------------------------------------------------------------------------------
 * The student of arXiv 2408.13920, from samples to outputs, in memory that does not depend on their number. A
 * recording is pushed `passes` times, from its beginning to its end: for mean and scale, for the mean of each mel
 * filter if the network subtracts it, and through the network.
 *
 * Plain C is the reference. The wider kernels order their sums otherwise: outputs agree to some 1e-5 in float32.
 *
 * Weights are a container, all of it little endian and so is the processor:
 *   0  char magic[8] "SERNATV1"    8  u32 bytes of the whole    12  u32 tensors, at most 64
 *   16 u32 offset of a text or 0   20 u32 bytes of the text     24  u32 its CRC-32
 *   28 u32 CRC-32 of bytes 0 to 27 and all entries              32  entries of 64 bytes:
 *      char name[24] | u32 type: 1 float32, 2 int8, 3 int32 | u32 rank | u32 shape[4], 1 beyond the rank
 *      | u32 offset, a multiple of 64 | u32 bytes | u32 CRC-32 of the data | u32 0
 *   network [4] int32: 1, outputs, flags (1 subtract mel means, 2 softmax, 4 int8), 0
 *   conv1.weight [3 time][3 mel][13 out], conv2 to conv7.weight [3 time][3 mel][13 in][13 out],
 *   mix.weight [13 in][13 out], sof.weight and lin.weight [169 in][169 out], head.weight [outputs][169];
 *   .bias [out] of all but sof and lin.
 * With int8, those of all but conv1 and head are int8, the output first ([13 out][3 time][3 mel][13 in], [169 out]
 * [169 in]), and have a .scale [out]: sum * scale + bias; activations are 0 to 255 after a convolution, -127 to 127
 * after mix.
 */
typedef struct ser_wav2small ser_wav2small;

/* Bytes to hand to ser_wav2small_init; 0 if the weights are damaged or not Wav2Small's. Below 512 KB.
 * weights: [bytes], aligned as a float is. */
size_t ser_wav2small_size(const void *weights, size_t bytes, ser_isa isa);

/* Make an engine in memory [size]; *engine points into it. The weights must stay as they are as long as it is used.
 * SER_OK, SER_E_ARGUMENT or SER_E_WEIGHTS. */
ser_status ser_wav2small_init(void *memory, size_t size, const void *weights, size_t bytes, ser_isa isa,
                              ser_wav2small **engine);

int ser_wav2small_outputs(const ser_wav2small *engine);
int ser_wav2small_passes(const ser_wav2small *engine);

/* samples: [n], read only during the call. SER_OK, SER_E_ARGUMENT, SER_E_VALUE, or SER_E_LENGTH for more samples than
 * the first pass had. */
ser_status ser_wav2small_push(ser_wav2small *engine, const float *samples, size_t n);

/* End a pass. SER_OK, SER_E_ARGUMENT, SER_E_SHORT (fewer than 33 samples) or SER_E_LENGTH. */
ser_status ser_wav2small_next(ser_wav2small *engine);

/* After the last pass, out: [outputs]; then ready for another recording. SER_OK or SER_E_ARGUMENT. */
ser_status ser_wav2small_finish(ser_wav2small *engine, float *out);

/* All passes over samples [n], from whatever state, into out: [outputs]. The status of the first call that fails. */
ser_status ser_wav2small_run(ser_wav2small *engine, const float *samples, size_t n, float *out);

/* Give up a recording, whatever its state. */
void ser_wav2small_reset(ser_wav2small *engine);

#ifdef __cplusplus
}
#endif
#endif
