/* cc -O2 main.c $prefix.c -lm -o $prefix
 * sox recording.wav -t f32 -r 16000 -c 1 - | ./$prefix
 * Runs on the whole recording, up to SECONDS. */
#include <stdio.h>

#include "$prefix.h"

static $prefix engine;
enum { SECONDS = 60, MOST = SECONDS * 16000 };
static float samples[MOST];

int main(void) {
    float out[${PREFIX}_OUTPUTS];
    size_t n = fread(samples, sizeof *samples, MOST, stdin);
    int i;
    if (getc(stdin) != EOF) {
        fprintf(stderr, "longer than %d s: cut it into windows, or raise SECONDS\n", SECONDS);
        return 1;
    }
    ${prefix}_init(&engine);
    if (${prefix}_run(&engine, samples, n, out)) {
        fprintf(stderr, "%lu samples: too few, or some are not finite numbers\n", (unsigned long)n);
        return 1;
    }
    for (i = 0; i < ${PREFIX}_OUTPUTS; i++) printf("%s %.4f\n", ${prefix}_names[i], out[i]);
    return 0;
}
