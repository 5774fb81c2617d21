/* LogMel of consecutive frames, one per lane of a vec. Include this file after definitions, as in logmel_plain.h, of
 *   NAME(x)   x with the instruction set's suffix       TARGET   function attribute that allows its instructions
 *   vec       a float per lane                          ivec     an int32_t per lane
 *   AS_INT, AS_FLOAT   the same bits in the other type  TO_FLOAT int32_t to float by value
 *   AT_LEAST(v, c)     the lane-wise maximum
 *   NAME(load)(g, samples, even, odd)  the windowed frames at samples, samples + hop, ...: vec even, odd [n_fft / 2]
 *   NAME(store)(g, db, count, out)     vec db [n_mels] of the first `count` lanes to out [count][n_mels]
 *   RADIX_3   1 if a geometry has an FFT pass of radix 3 (n_fft 144), else 0
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
            } else if (RADIX_3 && radix == 3) {
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

/* samples: [(lanes - 1) * hop + n_fft]; the frame of lane l begins at samples[l * hop].
 * work: vec [5 * n_fft / 2 + 1 + n_mels]. out: [count][n_mels]; lanes from count on are not written. */
TARGET static void NAME(block)(const ser_geometry *g, const float *samples, int count, void *work, float *out) {
    const int half = g->n_fft / 2;
    vec *ar = (vec *)work, *ai = ar + half, *br = ai + half, *bi = br + half, *power = bi + half,
        *db = power + half + 1;
    const float *weight = g->weight;
    int j, k, m, n, s, r;

    /* Compute the n_fft-point real FFT with a half-length complex one: even samples are the real parts, odd samples the
     * imaginary parts. */
    NAME(load)(g, samples, ar, ai);

    for (n = half, s = 1, r = 0; n > 1; n /= g->radix[r], s *= g->radix[r], r++) {
        vec *t;
        if (g->radix[r] == 4) /* pass constants, so that the compiler drops the other radices */
            NAME(pass)(4, n, s, g->n_fft, g->twiddle, ar, ai, br, bi);
        else if (RADIX_3 && g->radix[r] == 3)
            NAME(pass)(3, n, s, g->n_fft, g->twiddle, ar, ai, br, bi);
        else
            NAME(pass)(2, n, s, g->n_fft, g->twiddle, ar, ai, br, bi);
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
    NAME(store)(g, db, count, out);
}

/* Undefine the parameters, so that this file can be included again. */
#undef NAME
#undef TARGET
#undef vec
#undef ivec
#undef AS_INT
#undef AS_FLOAT
#undef TO_FLOAT
#undef AT_LEAST
