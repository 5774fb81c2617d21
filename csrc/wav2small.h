/* What wav2small.c, which streams, and wav2small_init.c, which lays out memory, know of an engine. */
#ifndef SER_WAV2SMALL_H
#define SER_WAV2SMALL_H

#include "engine.h"
#include "sertool.h"

/* Samples per push into LogMel: as many frames as the widest LogMel kernel computes at once. */
#ifndef SER_CHUNK
#define SER_CHUNK 512
#endif

enum { N_FFT = 64, HOP = 32, FRAMES = SER_CHUNK / HOP + 1, CELL = SER_COARSE };
enum { POOLING = 3, MIXING = 8, STAGES = 9 }; /* stages 0 to 2 and 4 to 7 are the convolutions */
enum { STATISTICS, CENTRE, NETWORK, FINISHED };

/* Ring buffer of the input rows of a stage, oldest first. slots: [capacity][row], row in bytes. */
typedef struct ser_ring {
    unsigned char *slots;
    size_t row;
    int capacity, first, have;
} ser_ring;

struct ser_wav2small {
    ser_network network;
    const ser_kernel *kernel;
    ser_statistics statistics;
    ser_logmel *logmel;
    int pass;
    uint64_t samples, pushed; /* in the recording, in this pass */
    uint64_t tokens, token;   /* number in the recording, index of the next one */
    double sum[SER_MELS];
    float mean[SER_MELS];     /* subtracted from each frame */
    float frames[FRAMES + 1][SER_MELS];
    ser_ring rings[STAGES];
    int shared[SER_CHANNELS + 1]; /* index in borders of the row that the border before a channel splits, or -1 */
    int waiting, queued;
    unsigned char *own;      /* [13][SER_ROW]: the row that each channel is filling */
    unsigned char *borders;  /* [12][SER_ROW]: the rows that channels share */
    unsigned char *queue;    /* [SER_BATCH][SER_ROW]: complete rows */
    unsigned char *mixed;    /* [13 channels][13 mels] */
    unsigned char *dummy;    /* a row for output that is discarded */
    void *packed, *work;
    ser_pool *pool;
};

#endif
