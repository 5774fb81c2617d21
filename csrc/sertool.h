/* sertool: speech features, voice activity detection and the Wav2Small network in C.
 *
 * Run a Wav2Small network, read from a file of native weights, on a recording:
 *
 *     #include "sertool.h"
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     void print_outputs(const void *weights, size_t bytes, const float *samples, size_t n) {
 *         size_t size = ser_wav2small_size(weights, bytes, SER_ISA_BEST);
 *         void *memory = malloc(size);
 *         ser_wav2small *engine;
 *         float out[16];
 *         ser_status status = ser_wav2small_init(memory, size, weights, bytes, SER_ISA_BEST, &engine);
 *         if (status == SER_OK) status = ser_wav2small_run(engine, samples, n, out);
 *         if (status == SER_OK)
 *             for (int i = 0; i < ser_wav2small_outputs(engine); i++) printf("%f\n", out[i]);
 *         else
 *             puts(ser_status_text(status));
 *         free(memory);
 *     }
 *
 * Samples are mono float at 16 kHz, full scale 1. All objects stream: push any number of samples, as often as needed,
 * then call finish. After that, all but ser_statistics are ready for another recording.
 *
 * C99. Requires only memcpy, memmove, memset and sqrt; no allocation, no global state, no file access. ser_statistics
 * and ser_segmenter are plain structs. For the other objects the caller provides memory: as many bytes as the size
 * function returns, aligned as by malloc, valid as long as the object is in use. There is nothing else to release. Use
 * an object from one thread at a time; different objects share nothing.
 *
 * Brackets give array shapes: [frames][n_mels] is `frames` rows of n_mels numbers, in row-major order.
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
    SER_E_ARGUMENT = 1, /* null pointer, unknown n_fft, unavailable instruction set, parameter out of range, memory too
                           small, or call out of order */
    SER_E_SHORT = 2,    /* too few samples; LogMel needs n_fft / 2 + 1 for reflect padding */
    SER_E_VALUE = 3,    /* a sample is NaN, infinite or beyond +-1e12, or a probability is outside 0 to 1; the push had
                           no effect */
    SER_E_SPACE = 4,    /* the output array is too small; the call had no effect */
    SER_E_WEIGHTS = 5,  /* weights are damaged or not those of a supported network */
    SER_E_LENGTH = 6    /* number of samples differs from the first pass or from what was pushed */
} ser_status;

/* Return a one-line description in English, a static string. */
const char *ser_status_text(ser_status status);

/* ---- instruction sets -------------------------------------------------------------------------------------------
 * Plain C is the reference. For LogMel and voice activity, the other instruction sets run the same operations in the
 * same order on several values at once: results are bit-identical if compiled without floating-point contraction
 * (-ffp-contract=off).
 */
typedef enum ser_isa {
    SER_ISA_BEST = 0, /* the widest that this build and this CPU support */
    SER_ISA_PLAIN = 1,
    SER_ISA_128 = 2, /* 4 floats: SSE2, NEON, WebAssembly */
    SER_ISA_AVX2 = 3,
    SER_ISA_AVX512 = 4
} ser_isa;

/* Return 1 if this build and this CPU support the instruction set, else 0. */
int ser_isa_available(ser_isa isa);

/* ---- recording statistics ---------------------------------------------------------------------------------------
 * Mean and scale of a recording in one pass, in double precision. Results are bit-identical however the samples are
 * split into pushes.
 */
typedef struct ser_statistics {
    uint64_t samples;
    float shift;    /* the first sample, subtracted from all samples: a large offset costs no precision */
    double sum[8];  /* [lane]: of the samples i with i % 8 == lane */
    double square[8];
} ser_statistics;

void ser_statistics_init(ser_statistics *s);

/* samples: [n], read only during the call. Returns SER_OK, SER_E_ARGUMENT or SER_E_VALUE. */
ser_status ser_statistics_push(ser_statistics *s, const float *samples, size_t n);

/* Compute *mean and *scale = 1 / sqrt(mean((x - mean)^2) + 1e-7); (x - mean) * scale is the normalised recording.
 * Returns SER_OK, SER_E_ARGUMENT, or SER_E_SHORT if no samples were pushed. */
ser_status ser_statistics_finish(const ser_statistics *s, float *mean, float *scale);

/* ---- LogMel -----------------------------------------------------------------------------------------------------
 * Log-mel spectrogram. n_fft 64: hop 32, 26 mels; n_fft 144: hop 72, 58 mels. Periodic Hann window, centred frames,
 * reflect padding, power spectrum, Slaney mel filters from 0 to 8000 Hz, 10 log10(max(mel, 1e-10)). n samples give
 * 1 + n / hop frames. A frame depends only on its own n_fft samples, so results are bit-identical however the samples
 * are split into pushes.
 */
typedef struct ser_logmel ser_logmel;

/* Return the bytes that ser_logmel_init needs, 0 if n_fft is unknown. Independent of the length of the recording. */
size_t ser_logmel_size(int n_fft);

/* Create a LogMel in memory [bytes]; *logmel points into it. Returns SER_OK or SER_E_ARGUMENT. */
ser_status ser_logmel_init(void *memory, size_t bytes, int n_fft, ser_isa isa, ser_logmel **logmel);

int ser_logmel_hop(const ser_logmel *logmel);
int ser_logmel_mels(const ser_logmel *logmel);

/* Normalise samples pushed from now on to (x - mean) * scale. The defaults are mean 0 and scale 1. Returns SER_OK,
 * SER_E_ARGUMENT, or SER_E_VALUE if mean or scale is NaN, infinite or beyond +-1e12. */
ser_status ser_logmel_normalise(ser_logmel *logmel, float mean, float scale);

/* Return the number of frames that a push of n more samples would write. */
size_t ser_logmel_ready(const ser_logmel *logmel, size_t n);

/* samples: [n], read only during the call. out: [capacity][n_mels]; *frames rows are written.
 * Returns SER_OK, SER_E_ARGUMENT, SER_E_VALUE or SER_E_SPACE. */
ser_status ser_logmel_push(ser_logmel *logmel, const float *samples, size_t n, float *out, size_t capacity,
                           size_t *frames);

/* Write the last frame, which extends past the end of the recording, to out: [n_mels]. The LogMel is then ready for
 * another recording and keeps its normalisation, also after SER_E_SHORT. Returns SER_OK, SER_E_ARGUMENT or
 * SER_E_SHORT. */
ser_status ser_logmel_finish(ser_logmel *logmel, float *out);

/* ---- voice activity ---------------------------------------------------------------------------------------------
 * The probability of speech every 10 ms, from a recurrent network of about 10,000 weights on LogMel (n_fft 64).
 * n samples give ceil(n / 160) probabilities. Output is delayed by 0.2 s of look-ahead: a probability is written at
 * most 0.22 s after the end of its frame, and depends only on the samples up to then. The recording level does not
 * matter unless speech peaks are below about -45 dBFS. Results are bit-identical however the samples are split into
 * pushes. A frame whose samples span at most 4 / 32768 (zeros, dithered zeros, a constant offset) has probability 0,
 * whatever came before it.
 */
typedef struct ser_vad ser_vad;

enum {
    SER_VAD_FRAME = 160, /* samples per probability */
    SER_VAD_REST = 22    /* ser_vad_finish writes at most this many probabilities */
};

/* Return the bytes that ser_vad_init needs. Independent of the length of the recording. */
size_t ser_vad_size(void);

/* Create a detector in memory [bytes]; *vad points into it. Returns SER_OK or SER_E_ARGUMENT. */
ser_status ser_vad_init(void *memory, size_t bytes, ser_isa isa, ser_vad **vad);

/* Return the number of probabilities that a push of n more samples would write. */
size_t ser_vad_ready(const ser_vad *vad, size_t n);

/* samples: [n], read only during the call. out: [capacity]; *frames probabilities, 0 to 1, are written.
 * Returns SER_OK, SER_E_ARGUMENT, SER_E_VALUE or SER_E_SPACE. */
ser_status ser_vad_push(ser_vad *vad, const float *samples, size_t n, float *out, size_t capacity, size_t *frames);

/* Write the remaining *frames probabilities, at most SER_VAD_REST, to out: [capacity]. The detector is then ready for
 * another recording. Returns SER_OK, or SER_E_ARGUMENT or SER_E_SPACE without effect. */
ser_status ser_vad_finish(ser_vad *vad, float *out, size_t capacity, size_t *frames);

/* ---- segments of speech -----------------------------------------------------------------------------------------
 * Convert probabilities, one per 160 samples (10 ms), to segments. A segment starts when the probability reaches
 * `threshold`. It ends where the probability falls below `lower`, once `shortest_silence_s` have passed from there
 * without reaching `threshold` again, or at the end of the recording. Segments shorter than `shortest_speech_s` are
 * dropped. The others are extended by `padding_s` on both sides, but not past the middle of a pause or the ends of the
 * recording. The rules are those of silero-vad's get_speech_timestamps, without its limit on segment length.
 */
typedef struct ser_vad_parameters {
    double threshold, lower;                                 /* 0 <= lower <= threshold <= 1 */
    double shortest_speech_s, shortest_silence_s, padding_s; /* seconds, 0 to 1e9 */
} ser_vad_parameters;

/* Return threshold 0.5, lower 0.35, shortest_speech_s 0.25, shortest_silence_s 0.1, padding_s 0.03. */
ser_vad_parameters ser_vad_parameters_default(void);

/* Samples start to end - 1 of the recording. */
typedef struct ser_segment {
    uint64_t start, end;
} ser_segment;

typedef struct ser_segmenter {
    float threshold, lower;
    uint64_t speech, silence, padding; /* in samples */
    uint64_t position;                 /* samples covered by the probabilities so far */
    uint64_t start, end;               /* of the open segment; `end` is preliminary */
    ser_segment last;                  /* the previous segment, padded at its start but not yet at its end */
    int running, ending, held;         /* 1 if start, end, last are valid */
} ser_segmenter;

/* Returns SER_OK, or SER_E_ARGUMENT if a parameter is out of range. */
ser_status ser_segmenter_init(ser_segmenter *s, const ser_vad_parameters *parameters);

/* probabilities: [n], read only during the call. out: [capacity]; the *segments that are now final are written, at
 * most n / 2 + 2. Segments are in order, do not overlap, and are the same however the probabilities are split into
 * pushes. Returns SER_OK, SER_E_ARGUMENT, SER_E_VALUE or SER_E_SPACE. */
ser_status ser_segmenter_push(ser_segmenter *s, const float *probabilities, size_t n, ser_segment *out,
                              size_t capacity, size_t *segments);

/* Write the remaining segments to out: [2]. samples: the length of the recording, of which the last probability covers
 * the last 1 to 160. The segmenter is then ready for another recording. Returns SER_OK, or SER_E_ARGUMENT or
 * SER_E_LENGTH without effect. */
ser_status ser_segmenter_finish(ser_segmenter *s, uint64_t samples, ser_segment *out, size_t *segments);

/* Return the first sample that a segment not yet written can include. */
uint64_t ser_segmenter_uncertain(const ser_segmenter *s);

/* ---- Wav2Small --------------------------------------------------------------------------------------------------
 * The student network of arXiv 2408.13920, from samples to outputs. Memory is independent of the length of the
 * recording, so the whole recording is pushed ser_wav2small_passes times: to compute mean and scale, to compute the
 * mean of each mel filter if the network subtracts it, and to run the network. Call ser_wav2small_next after each pass.
 *
 * Plain C is the reference. The other float32 kernels sum in another order: their outputs differ by about 1e-5.
 *
 * Format of the weights; the file and the CPU must be little-endian:
 *   0  char magic[8] "SERNATV1"    8  u32 bytes of the file     12  u32 number of tensors, at most 64
 *   16 u32 offset of a text or 0   20 u32 bytes of the text     24  u32 CRC-32 of the text
 *   28 u32 CRC-32 of bytes 0 to 27 and all entries              32  entries of 64 bytes, one per tensor:
 *      char name[24] | u32 type: 1 float32, 2 int8, 3 int32 | u32 rank | u32 shape[4], 1 beyond the rank
 *      | u32 offset, a multiple of 64 | u32 bytes | u32 CRC-32 of the data | u32 0
 * Tensors:
 *   network [4] int32: 1, outputs, flags (1 subtract mel means, 2 softmax, 4 int8), 0
 *   conv1.weight [3 time][3 mel][13 out], conv2 to conv7.weight [3 time][3 mel][13 in][13 out],
 *   mix.weight [13 in][13 out], sof.weight and lin.weight [169 in][169 out], head.weight [outputs][169];
 *   .bias [out] of all but sof and lin; optional lin.bias [169], which only ser_wav2small_embedding needs.
 * With int8, the weights of all but conv1 and head are int8 with the outputs first ([13 out][3 time][3 mel][13 in],
 * [13 out][13 in], [169 out][169 in]), and have a .scale [out]: a layer computes sum * scale + bias. Activations are 0
 * to 255 after a convolution, -127 to 127 after mix.
 */
typedef struct ser_wav2small ser_wav2small;

/* Return the bytes that ser_wav2small_init needs, below 512 KB, or 0 if the weights are damaged or not Wav2Small's, or
 * the instruction set is not available. weights: [bytes], aligned as float. */
size_t ser_wav2small_size(const void *weights, size_t bytes, ser_isa isa);

/* Create an engine in memory [size]; *engine points into it. The engine refers to the weights: keep them unchanged
 * while it is in use. Returns SER_OK, SER_E_ARGUMENT or SER_E_WEIGHTS. */
ser_status ser_wav2small_init(void *memory, size_t size, const void *weights, size_t bytes, ser_isa isa,
                              ser_wav2small **engine);

/* Return the number of outputs, 1 to 16. */
int ser_wav2small_outputs(const ser_wav2small *engine);

/* Return the number of passes, 2 or 3. */
int ser_wav2small_passes(const ser_wav2small *engine);

/* samples: [n], read only during the call. Returns SER_OK, SER_E_ARGUMENT, SER_E_VALUE, or SER_E_LENGTH if there are
 * more samples than in the first pass. */
ser_status ser_wav2small_push(ser_wav2small *engine, const float *samples, size_t n);

/* End a pass. Returns SER_OK, SER_E_ARGUMENT, SER_E_SHORT (fewer than 33 samples), or SER_E_LENGTH if there were fewer
 * samples than in the first pass. */
ser_status ser_wav2small_next(ser_wav2small *engine);

/* Write the outputs after the last pass to out: [outputs]. The engine is then ready for another recording. Returns
 * SER_OK or SER_E_ARGUMENT. */
ser_status ser_wav2small_finish(ser_wav2small *engine, float *out);

/* Write the embedding after the last pass, before ser_wav2small_finish, to out: [169]: the pooled tokens, which the last
 * layer turns into the outputs. Weights without lin.bias give it without that constant. Returns SER_OK or
 * SER_E_ARGUMENT. */
ser_status ser_wav2small_embedding(const ser_wav2small *engine, float *out);

/* Discard any unfinished recording, run all passes over samples [n], and write the outputs to out: [outputs]. Returns
 * the status of the first call that fails, or SER_OK. */
ser_status ser_wav2small_run(ser_wav2small *engine, const float *samples, size_t n, float *out);

/* Discard the recording, at any stage. */
void ser_wav2small_reset(ser_wav2small *engine);

#ifdef __cplusplus
}
#endif
#endif
