/* $title
 *
 * $id in $bits bits. Do not edit: sertool writes this, from the weights in $weights,
 * sha256 $sha.
 * Licence of the weights: $licence
 *
 * In:  mono float at 16 kHz, full scale 1, at least 33 samples. Mean and level do not matter: they are made 0 and 1.$before
 * Out: $answers
 *
 * A recording is read ${PREFIX}_PASSES times, from its beginning to its end, so that memory does not depend on its length.
 *
 * All of it at once:
 *
 *     static $prefix engine;
 *     float out[${PREFIX}_OUTPUTS];
 *     ${prefix}_init(&engine);
 *     if (${prefix}_run(&engine, samples, n, out) == ${PREFIX}_OK) ...
 *
 * or piece by piece, from wherever it can be read again:
 *
 *     for (pass = 0; pass < ${PREFIX}_PASSES; pass++) {
 *         while ((n = read(samples))) status = ${prefix}_push(&engine, samples, n);
 *         status = ${prefix}_next(&engine);
 *     }
 *     status = ${prefix}_finish(&engine, out);
 *
 * C99. Needs memcpy, memmove, memset and sqrt; allocates nothing, changes no global. Engines are independent of each
 * other; one may be used by one thread at a time.
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
#define ${PREFIX}_BYTES $bytes /* of memory; beside it ${constant} of constants, some 10000 of code, 3000 of stack */

/* What the outputs are called, in their order. */
extern const char ${prefix}_names[${PREFIX}_OUTPUTS][$longest];

typedef enum ${prefix}_status {
    ${PREFIX}_OK = 0,
    ${PREFIX}_E_ARGUMENT = 1, /* a null pointer, or a call out of turn */
    ${PREFIX}_E_SHORT = 2,    /* fewer than 33 samples */
    ${PREFIX}_E_VALUE = 3,    /* a sample is NaN, infinite or beyond +-1e12; nothing of that push was used */
    ${PREFIX}_E_LENGTH = 6    /* a pass has more or fewer samples than the first one */
} ${prefix}_status;

/* An engine, in memory of yours. There is nothing to free. */
typedef struct $prefix {
    uint64_t memory[${PREFIX}_BYTES / 8];
} $prefix;

/* Before anything else. */
void ${prefix}_init($prefix *engine);

/* samples: [n], read only during the call; in pieces of whatever size. OK, E_ARGUMENT, E_VALUE, or E_LENGTH for more
 * samples than the first pass had. */
${prefix}_status ${prefix}_push($prefix *engine, const float *samples, size_t n);

/* End a pass. OK, E_ARGUMENT, E_SHORT or E_LENGTH. */
${prefix}_status ${prefix}_next($prefix *engine);

/* After the last pass, out: [${PREFIX}_OUTPUTS]; then ready for another recording. OK or E_ARGUMENT. */
${prefix}_status ${prefix}_finish($prefix *engine, float *out);

/* All passes over samples [n], from whatever state, into out: [${PREFIX}_OUTPUTS]. The status of the first call that fails. */
${prefix}_status ${prefix}_run($prefix *engine, const float *samples, size_t n, float *out);

/* Give up a recording, whatever its state. */
void ${prefix}_reset($prefix *engine);

#ifdef __cplusplus
}
#endif
#endif
