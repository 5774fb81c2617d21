/* One step of the voice activity detector, LANES outputs of a layer at once. vad.c includes this file once per
 * instruction set and defines
 *   NAME(x)   x with the instruction set's suffix       TARGET   function attribute that allows its instructions
 *   LANES     outputs at once: 1, 4, 8 or 16            vec      LANES floats
 *   GET(p), PUT(p, v)          load and store LANES consecutive floats at p
 *   AS_INT, AS_FLOAT           the same bits in the other type
 *   AT_LEAST(v, c), AT_MOST(v, c)   the lane-wise maximum, minimum
 *
 * With LANES 1 this is plain C and the reference for the other instruction sets, which sum every output in the same
 * order.
 */

/* Return 1 / (1 + e^-x). With -x log2(e) = n + f, n whole and |f| <= 1/2: 2^n by its bits, 2^f by a series. */
TARGET static inline vec NAME(sigmoid)(vec x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it leaves a whole number in the low bits */
    const vec t = AT_LEAST(AT_MOST(x, 60.0f), -60.0f) * -1.44269504f, whole = t + magic, f = t - (whole - magic);
    const vec series =
        ((((f * 1.3333558e-3f + 9.6181291e-3f) * f + 5.5504109e-2f) * f + 2.4022651e-1f) * f + 6.9314718e-1f) * f + 1.0f;
    return 1.0f / (1.0f + series * AS_FLOAT((AS_INT(whole) - 0x4b400000 + 127) << 23));
}

TARGET static inline vec NAME(tanh)(vec x) { return 2.0f * NAME(sigmoid)(2.0f * x) - 1.0f; }

/* y [outputs] += weights [inputs][outputs], transposed, times x [inputs]. */
TARGET static inline void NAME(add)(const float *weights, const float *x, int inputs, int outputs, float *y) {
    int i, o = 0;
    for (; o + 4 * LANES <= outputs; o += 4 * LANES) {
        vec a = GET(y + o), b = GET(y + o + LANES), c = GET(y + o + 2 * LANES), d = GET(y + o + 3 * LANES);
        for (i = 0; i < inputs; i++) {
            const float *w = weights + i * outputs + o;
            a += GET(w) * x[i];
            b += GET(w + LANES) * x[i];
            c += GET(w + 2 * LANES) * x[i];
            d += GET(w + 3 * LANES) * x[i];
        }
        PUT(y + o, a);
        PUT(y + o + LANES, b);
        PUT(y + o + 2 * LANES, c);
        PUT(y + o + 3 * LANES, d);
    }
    for (; o < outputs; o += LANES) {
        vec a = GET(y + o);
        for (i = 0; i < inputs; i++) a += GET(weights + i * outputs + o) * x[i];
        PUT(y + o, a);
    }
}

/* Advance s->hidden by one step. rows: [ROWS][MELS], plus as many readable floats as a row's padding. */
TARGET static void NAME(step)(ser_vad *s, const float *rows) {
    float mean[PADDED], moves[ROWS][PADDED], groups[GROUPS_WIDE], pulses[ROWS * GROUPS], mixed[MIXED];
    float in[SEEN + PATTERNS], gates[3 * UNITS], past[3 * UNITS], level = 0;
    int i, k;

    for (i = 0; i < PADDED; i += LANES) { /* elements from BANDS on belong to the next row and are unused */
        vec sum = GET(rows + 1 + i);
        for (k = 1; k < ROWS; k++) sum += GET(rows + 1 + k * MELS + i);
        sum *= 1.0f / ROWS;
        PUT(mean + i, sum);
        for (k = 0; k < ROWS; k++)
            PUT(moves[k] + i, AT_LEAST(AT_MOST((GET(rows + 1 + k * MELS + i) - sum) * 0.2f, 4.0f), -4.0f));
    }
    for (i = 0; i < BANDS; i++) level += mean[i];
    level *= 1.0f / BANDS;
    follow(s, mean, level);

    for (i = 0; i < BANDS; i++) {
        in[i] = between(-3, (mean[i] - level) * 0.1f, 3);
        in[BANDS + i] = between(-1, (mean[i] - s->floor[i]) * 0.1f, 4);
    }
    in[2 * BANDS] = between(-4, (level - s->top) * 0.1f, 2);
    in[2 * BANDS + 1] = between(-3, (s->top + 10) * 0.2f, 0); /* < 0 if fainter than speech with -45 dBFS peaks */

    for (k = 0; k < ROWS; k++) {
        memset(groups, 0, sizeof groups);
        NAME(add)(vad_groups, moves[k], BANDS, GROUPS_WIDE, groups);
        for (i = 0; i < GROUPS; i++) pulses[k * GROUPS + i] = groups[i];
    }
    memcpy(in + SEEN, vad_patterns_bias, sizeof vad_patterns_bias);
    NAME(add)(vad_patterns, pulses, ROWS * GROUPS, PATTERNS, in + SEEN);
    for (i = 0; i < PATTERNS; i++)
        if (in[SEEN + i] < 0) in[SEEN + i] = -in[SEEN + i];

    memcpy(mixed, vad_mix_bias, sizeof mixed);
    NAME(add)(vad_mix, in, SEEN + PATTERNS, MIXED, mixed);
    for (i = 0; i < MIXED; i++) mixed[i] = mixed[i] > 0 ? mixed[i] : 0;

    memcpy(gates, vad_gates_bias, sizeof gates);
    NAME(add)(vad_gates, mixed, MIXED, 3 * UNITS, gates);
    memcpy(past, vad_past_bias, sizeof past);
    NAME(add)(vad_past, s->hidden, UNITS, 3 * UNITS, past);
    for (i = 0; i < UNITS; i += LANES) {
        const vec reset = NAME(sigmoid)(GET(gates + i) + GET(past + i));
        const vec keep = NAME(sigmoid)(GET(gates + UNITS + i) + GET(past + UNITS + i));
        const vec next = NAME(tanh)(GET(gates + 2 * UNITS + i) + reset * GET(past + 2 * UNITS + i));
        PUT(s->hidden + i, next + keep * (GET(s->hidden + i) - next));
    }
}

/* Undefine the parameters, so that this file can be included again. */
#undef NAME
#undef TARGET
#undef LANES
#undef vec
#undef ivec
