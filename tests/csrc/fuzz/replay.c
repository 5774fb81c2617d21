/* Gives a fuzz target the files that are named: what libFuzzer does with files, for compilers without it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int main(int argc, char **argv) {
    int i;
    for (i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        unsigned char *bytes;
        long n;
        if (!file || fseek(file, 0, SEEK_END) != 0 || (n = ftell(file)) < 0) return 2;
        rewind(file);
        bytes = malloc(n ? (size_t)n : 1);
        if (!bytes || fread(bytes, 1, (size_t)n, file) != (size_t)n) return 2;
        fclose(file);
        fprintf(stderr, "%s\n", argv[i]); /* the last one is the culprit */
        LLVMFuzzerTestOneInput(bytes, (size_t)n);
        free(bytes);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
