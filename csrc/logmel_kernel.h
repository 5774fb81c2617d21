/* LogMel of LANES consecutive frames, one per lane. logmel.c includes this file once per instruction set and defines
 *   NAME(x)   x with the instruction set's suffix       TARGET   function attribute that allows its instructions
 *   LANES     frames at once                            vec      LANES floats         ivec   LANES int32_t
 *   AS_INT, AS_FLOAT   the same bits in the other type  TO_FLOAT int32_t to float by value
 *   AT_LEAST(v, c)     the lane-wise maximum
 * and, if LANES is 4 or more,
 *   GATHER(p, s)       4 consecutive floats from each of p, p + 4 s, p + 8 s, ...: a quarter (4 lanes) each
 *   SCATTER(p, s, v, n)  the inverse: a quarter each to p, p + 4 s, ... as long as 0, 4, ... is below n
 *   LO32, HI32, LO64, HI64(a, b)  interleave the lower or upper halves of each quarter, by one or two floats
 * With LANES 1 this is plain C and the reference for the other instruction sets.
 */

/* One Stockham pass: radix-r butterflies of n points at stride s, from (xr, xi) to (yr, yi), each [n * s].
 * twiddle: [2 n_fft], cos and -sin of 2 pi k / n_fft. */
TARGET static void NAME(pass)(int radix, int n, int s, int n_fft, const float *twiddle, const vec *xr, const vec *xi,
                              vec *yr, vec *yi) {
    const int m = n / radix, step = n_fft / n;
    int p, q;
    for (p = 0; p < m; p++) {
        const float *w1 = twiddle + 2 * (p * step), *w2 = twiddle + 2 * (2 * p * step % n_fft),
                    *w3 = twiddle + 2 * (3 * p * step % n_fft);
        for (q = 0; q < s; q++) {
            const int a = q + s * p, o = q + s * radix * p;
            if (radix == 4) {
                const vec acr = xr[a] + xr[a + 2 * s * m], aci = xi[a] + xi[a + 2 * s * m];
                const vec amr = xr[a] - xr[a + 2 * s * m], ami = xi[a] - xi[a + 2 * s * m];
                const vec bdr = xr[a + s * m] + xr[a + 3 * s * m], bdi = xi[a + s * m] + xi[a + 3 * s * m];
                const vec bmr = xr[a + s * m] - xr[a + 3 * s * m], bmi = xi[a + s * m] - xi[a + 3 * s * m];
                const vec t1r = amr + bmi, t1i = ami - bmr; /* (a - c) - i (b - d) */
                const vec t2r = acr - bdr, t2i = aci - bdi;
                const vec t3r = amr - bmi, t3i = ami + bmr;
                yr[o] = acr + bdr;
                yi[o] = aci + bdi;
                yr[o + s] = t1r * w1[0] - t1i * w1[1];
                yi[o + s] = t1r * w1[1] + t1i * w1[0];
                yr[o + 2 * s] = t2r * w2[0] - t2i * w2[1];
                yi[o + 2 * s] = t2r * w2[1] + t2i * w2[0];
                yr[o + 3 * s] = t3r * w3[0] - t3i * w3[1];
                yi[o + 3 * s] = t3r * w3[1] + t3i * w3[0];
            } else if (radix == 3) {
                const float half_sqrt3 = 0.866025403784438647f;
                const vec sr = xr[a + s * m] + xr[a + 2 * s * m], si = xi[a + s * m] + xi[a + 2 * s * m];
                const vec dr = (xr[a + s * m] - xr[a + 2 * s * m]) * half_sqrt3;
                const vec di = (xi[a + s * m] - xi[a + 2 * s * m]) * half_sqrt3;
                const vec cr = xr[a] - sr * 0.5f, ci = xi[a] - si * 0.5f;
                const vec t1r = cr + di, t1i = ci - dr, t2r = cr - di, t2i = ci + dr;
                yr[o] = xr[a] + sr;
                yi[o] = xi[a] + si;
                yr[o + s] = t1r * w1[0] - t1i * w1[1];
                yi[o + s] = t1r * w1[1] + t1i * w1[0];
                yr[o + 2 * s] = t2r * w2[0] - t2i * w2[1];
                yi[o + 2 * s] = t2r * w2[1] + t2i * w2[0];
            } else { /* 2 */
                const vec dr = xr[a] - xr[a + s * m], di = xi[a] - xi[a + s * m];
                yr[o] = xr[a] + xr[a + s * m];
                yi[o] = xi[a] + xi[a + s * m];
                yr[o + s] = dr * w1[0] - di * w1[1];
                yi[o + s] = dr * w1[1] + di * w1[0];
            }
        }
    }
}

/* 10 log10(max(x, 1e-10)). With x = 2^e m, m in [sqrt 1/2, sqrt 2), and s = (m - 1) / (m + 1):
 * ln m = 2 (s + s^3 / 3 + s^5 / 5 + ...). With terms up to s^9 the error is below 1e-8. */
TARGET static inline vec NAME(decibels)(vec x) {
    const ivec bits = AS_INT(AT_LEAST(x, 1e-10f));
    const ivec over = bits - 0x3f3504f3, e = over >> 23;
    const vec m = AS_FLOAT(bits - (over & -0x800000)); /* e << 23, which is undefined in C for negative e */
    const vec s = (m - 1.0f) / (m + 1.0f), z = s * s;
    const vec series = (((z * (1.0f / 9) + 1.0f / 7) * z + 1.0f / 5) * z + 1.0f / 3) * z + 1.0f;
    return TO_FLOAT(e) * 3.01029995663981195f + s * series * 8.68588963806503655f; /* 10 log10(2), 20 / ln(10) */
}

#if LANES > 1
/* Transpose v [4][LANES / 4 quarters][4] within each quarter: swap lane 4 b + i of v[j] and lane 4 b + j of v[i]. */
TARGET static inline void NAME(turn)(vec *v) {
    const vec a = LO32(v[0], v[1]), b = HI32(v[0], v[1]), c = LO32(v[2], v[3]), d = HI32(v[2], v[3]);
    v[0] = LO64(a, c);
    v[1] = HI64(a, c);
    v[2] = LO64(b, d);
    v[3] = HI64(b, d);
}
#endif

/* samples: [(LANES - 1) * hop + n_fft]; the frame of lane l begins at samples[l * hop].
 * work: vec [5 * n_fft / 2 + 1 + n_mels]. out: [count][n_mels]; lanes from count on are not written. */
TARGET static void NAME(block)(const geometry *g, const float *samples, int count, void *work, float *out) {
    const int half = g->n_fft / 2;
    vec *ar = (vec *)work, *ai = ar + half, *br = ai + half, *bi = br + half, *power = bi + half,
        *db = power + half + 1;
    const float *weight = g->weight;
    int j, k, m, n, s, r;

    /* Compute the n_fft-point real FFT with a half-length complex one: even samples are the real parts, odd samples the
     * imaginary parts. */
#if LANES == 1
    for (j = 0; j < half; j++) {
        ar[j] = samples[2 * j] * g->window[2 * j];
        ai[j] = samples[2 * j + 1] * g->window[2 * j + 1];
    }
#else
    for (j = 0; j < half; j += 2) {
        const float *at = samples + 2 * j, *w = g->window + 2 * j;
        vec v[4]; /* v[i], quarter b: 4 samples of frame 4 b + i; transposed, v[i] is sample i of every frame */
        for (k = 0; k < 4; k++) v[k] = GATHER(at + k * g->hop, g->hop);
        NAME(turn)(v);
        ar[j] = v[0] * w[0];
        ai[j] = v[1] * w[1];
        ar[j + 1] = v[2] * w[2];
        ai[j + 1] = v[3] * w[3];
    }
#endif

    for (n = half, s = 1, r = 0; n > 1; n /= g->radix[r], s *= g->radix[r], r++) {
        vec *t;
        switch (g->radix[r]) { /* pass constants, so that the compiler drops the other radices */
        case 4: NAME(pass)(4, n, s, g->n_fft, g->twiddle, ar, ai, br, bi); break;
        case 3: NAME(pass)(3, n, s, g->n_fft, g->twiddle, ar, ai, br, bi); break;
        default: NAME(pass)(2, n, s, g->n_fft, g->twiddle, ar, ai, br, bi); break;
        }
        t = ar, ar = br, br = t;
        t = ai, ai = bi, bi = t;
    }

    /* With Z the FFT of even + i odd: E = (Z[k] + Z*[-k]) / 2, O = -i (Z[k] - Z*[-k]) / 2,
     * X[k] = E + w^k O and X[half - k] = (E - w^k O)*. */
    for (k = 0; k <= half / 2; k++) {
        const int c = (half - k) % half;
        const float wr = g->twiddle[2 * k], wi = g->twiddle[2 * k + 1];
        const vec er = (ar[k] + ar[c]) * 0.5f, ei = (ai[k] - ai[c]) * 0.5f;
        const vec or_ = (ai[k] + ai[c]) * 0.5f, oi = (ar[c] - ar[k]) * 0.5f;
        const vec tr = or_ * wr - oi * wi, ti = or_ * wi + oi * wr;
        const vec pr = er + tr, pi = ei + ti, qr = er - tr, qi = ei - ti;
        power[k] = pr * pr + pi * pi;
        power[half - k] = qr * qr + qi * qi;
    }

    for (m = 0; m < g->n_mels; m++) {
        const vec *p = power + g->first[m];
        vec sum = p[0] * 0.0f;
        for (j = 0; j < g->count[m]; j++) sum += p[j] * *weight++;
        db[m] = NAME(decibels)(sum);
    }
#if LANES == 1
    (void)count;
    for (m = 0; m < g->n_mels; m++) out[m] = db[m];
#else
    for (m = 0; m < g->n_mels; m += 4) {
        const int at = m + 4 <= g->n_mels ? m : g->n_mels - 4; /* the last four may overlap the previous ones */
        vec v[4];
        for (k = 0; k < 4; k++) v[k] = db[at + k];
        NAME(turn)(v);
        for (k = 0; k < 4; k++) SCATTER(out + k * g->n_mels + at, g->n_mels, v[k], count - k);
    }
#endif
}

/* Undefine the parameters, so that this file can be included again. */
#undef NAME
#undef TARGET
#undef LANES
#undef vec
#undef ivec
#undef GATHER
#undef SCATTER
#undef LO32
#undef HI32
#undef LO64
#undef HI64
