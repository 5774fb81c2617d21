/* Wav2Small's sizes and weights. */
#ifndef SER_NETWORK_H
#define SER_NETWORK_H

enum {
    SER_CHANNELS = 13,
    SER_MELS = 26,          /* per LogMel frame */
    SER_COARSE = 13,        /* mel rows after the pooling */
    SER_WIDTH = 169,        /* numbers per token: 13 x 13 */
    SER_LAYERS = 7,         /* 3x3 convolutions */
    SER_MOST_OUTPUTS = 16,
    SER_CENTRE = 1,         /* flags: subtract each mel filter's mean over the recording */
    SER_SOFTMAX = 2,        /*        outputs are probabilities */
    SER_INT8 = 4            /*        weights and activations are 8-bit */
};

/* Weights are float with the outputs last, so that a product updates all outputs at once; or int8_t with the outputs
 * first and a scale per output: an output is one long sum of products, then sum * scale + bias. */
typedef struct ser_layer {
    const void *weight;
    const float *scale;
    const float *bias;
} ser_layer;

/* Pointers to the weights, which must stay where they are. */
typedef struct ser_network {
    int outputs, flags;
    ser_layer conv[SER_LAYERS]; /* [3 time][3 mel][13 in][13 out]; the first has 1 input and is always float */
    ser_layer mix;              /* [13 in][13 out] */
    ser_layer sof, lin;         /* [169 in][169 out]; lin.bias, or NULL, is part of the embedding only */
    const float *head;          /* [outputs][169] */
    const float *head_bias;     /* [outputs] */
} ser_network;

#endif
