/* The container of weights: what wav2small.c reads, and what it makes of it. */
#ifndef SER_WEIGHTS_H
#define SER_WEIGHTS_H

#include "sertool.h"

enum {
    SER_CHANNELS = 13,
    SER_MELS = 26,          /* of a LogMel frame */
    SER_COARSE = 13,        /* mel rows after the pooling */
    SER_WIDTH = 169,        /* of a token: 13 x 13 */
    SER_LAYERS = 7,         /* 3x3 convolutions */
    SER_MOST_OUTPUTS = 16,
    SER_CENTRE = 1,         /* flags: each mel filter's mean over the recording is taken away */
    SER_SOFTMAX = 2,        /*        outputs are probabilities */
    SER_INT8 = 4            /*        weights and activations have 8 bits */
};

/* Weights float, output last: products are added to all outputs side by side. Or int8_t, output first, with a scale
 * for each output: an output is one long sum of products, and sum * scale + bias. */
typedef struct ser_layer {
    const void *weight;
    const float *scale;
    const float *bias;
} ser_layer;

/* Pointers into the container. */
typedef struct ser_network {
    int outputs, flags;
    ser_layer conv[SER_LAYERS]; /* [3 time][3 mel][13 in][13 out], the first one of 1 in, and always float */
    ser_layer mix;              /* [13 in][13 out] */
    ser_layer sof, lin;         /* [169 in][169 out], without bias */
    const float *head;          /* [outputs][169] */
    const float *head_bias;     /* [outputs] */
} ser_network;

/* Everything in the container is checked: sums, names, shapes, places. SER_OK, SER_E_ARGUMENT or SER_E_WEIGHTS. */
ser_status ser_network_open(const void *container, size_t bytes, ser_network *network);

#endif
