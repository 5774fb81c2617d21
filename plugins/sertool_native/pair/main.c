/* cc -O2 main.c $prefix.c -lm -o $prefix
 * sox recording.wav -t f32 -r 16000 -c 1 - | ./$prefix */
#include <stdio.h>

#include "$prefix.h"

static $prefix engine;
static float samples[60 * 16000];

int main(void) {
    float out[${PREFIX}_OUTPUTS];
    int i;
    ${prefix}_init(&engine);
    if (${prefix}_run(&engine, samples, fread(samples, sizeof *samples, 60 * 16000, stdin), out)) return 1;
    for (i = 0; i < ${PREFIX}_OUTPUTS; i++) printf("%s %.4f\n", ${prefix}_names[i], out[i]);
    return 0;
}
