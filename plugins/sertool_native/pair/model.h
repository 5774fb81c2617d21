/* $title
 *
 * $id in $bits bits. Do not edit: sertool writes this, from the weights in $weights,
 * sha256 $sha.
 * Licence of the weights: $licence
 *
 * In:  mono float at 16 kHz, full scale 1, at least 33 samples. Mean and level do not matter: samples are normalised.$before
 * Out: $answers
 *
 * A recording is read ${PREFIX}_PASSES times, from its beginning to its end, so that memory does not depend on its length.
 *
 * The whole recording at once:
 *
 *     static $prefix engine;
 *     float out[${PREFIX}_OUTPUTS];
 *     ${prefix}_init(&engine);
 *     if (${prefix}_run(&engine, samples, n, out) == ${PREFIX}_OK) ...
 *
 * or in pieces, from a source that can be read again:
 *
 *     for (pass = 0; pass < ${PREFIX}_PASSES; pass++) {
 *         while ((n = read(samples))) status = ${prefix}_push(&engine, samples, n);
 *         status = ${prefix}_next(&engine);
 *     }
 *     status = ${prefix}_finish(&engine, out);
 *
 * C99. Needs memcpy, memmove, memset and sqrt; no allocation, no global state. Engines are independent of each
 * other; use an engine from one thread at a time.
 */
#ifndef ${PREFIX}_H
#define ${PREFIX}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ${PREFIX}_OUTPUTS $count
#define ${PREFIX}_PASSES $passes
#define ${PREFIX}_EMBEDDING 169
#define ${PREFIX}_BYTES $bytes /* of memory; also ${constant} of constants, about 10000 of code, 3000 of stack */

/* Names of the outputs, in order. */
extern const char ${prefix}_names[${PREFIX}_OUTPUTS][$longest];

typedef enum ${prefix}_status {
    ${PREFIX}_OK = 0,
    ${PREFIX}_E_ARGUMENT = 1, /* null pointer, or call out of order */
    ${PREFIX}_E_SHORT = 2,    /* fewer than 33 samples */
    ${PREFIX}_E_VALUE = 3,    /* a sample is NaN, infinite or beyond +-1e12; the push had no effect */
    ${PREFIX}_E_LENGTH = 6    /* number of samples differs from the first pass */
} ${prefix}_status;

/* An engine, in the caller's memory. There is nothing to free. */
typedef struct $prefix {
    uint64_t memory[${PREFIX}_BYTES / 8];
} $prefix;

/* Call this first. */
void ${prefix}_init($prefix *engine);

/* samples: [n], read only during the call; in pieces of any size. Returns OK, E_ARGUMENT, E_VALUE, or E_LENGTH if
 * there are more samples than in the first pass. */
${prefix}_status ${prefix}_push($prefix *engine, const float *samples, size_t n);

/* End a pass. Returns OK, E_ARGUMENT, E_SHORT or E_LENGTH. */
${prefix}_status ${prefix}_next($prefix *engine);

/* Write the outputs after the last pass to out: [${PREFIX}_OUTPUTS]. The engine is then ready for another recording. Returns OK or E_ARGUMENT. */
${prefix}_status ${prefix}_finish($prefix *engine, float *out);

/* Write the embedding after the last pass, before ${prefix}_finish, to out: [${PREFIX}_EMBEDDING]: what the last layer turns into the outputs. Returns OK or E_ARGUMENT. */
${prefix}_status ${prefix}_embedding($prefix *engine, float *out);

/* Discard any unfinished recording, run all passes over samples [n], and write the outputs to out: [${PREFIX}_OUTPUTS]. Returns the status of the first call that fails, or OK. */
${prefix}_status ${prefix}_run($prefix *engine, const float *samples, size_t n, float *out);

/* Discard the recording, at any stage. */
void ${prefix}_reset($prefix *engine);

#ifdef __cplusplus
}
#endif
#endif
