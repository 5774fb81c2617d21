/* An exported pair over raw float files, in pieces, from wherever files can be read again: `run_pair FILE...` with
 * -DMODEL=prefix -DHEADER="\"prefix.h\"". A line a file: its outputs. On ARM another: stack and instructions.
 */
#include HEADER

#include <stdio.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define CALL(name) JOIN(MODEL, name)

enum { PIECE = 1000, MOST = 16 };

static MODEL engine;
static float samples[PIECE];

static int answer(FILE *file, float *out) {
    int pass, status = 0;
    for (pass = 0; pass < PASSES && !status; pass++) {
        size_t n;
        rewind(file);
        while (!status && (n = fread(samples, sizeof *samples, PIECE, file)) > 0)
            status = CALL(_push)(&engine, samples, n);
        if (!status) status = CALL(_next)(&engine);
    }
    return status ? status : (int)CALL(_finish)(&engine, out);
}

int main(int argc, char **argv) {
    float out[MOST];
    int i, o;
    CALL(_init)(&engine);
    for (i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        int status = file ? answer(file, out) : -1;
        if (status) {
            fprintf(stderr, "%s: %d\n", argv[i], status);
            return 1;
        }
        fclose(file);
        for (o = 0; o < OUTPUTS; o++) printf("%.9g%c", out[o], o + 1 < OUTPUTS ? ' ' : '\n');
    }
    return 0;
}
