/* sertool in the browser: the C engine and the speech detector in WebAssembly, and how they make labels.
 *
 *     const model = await sertool.load(await (await fetch("model.wasm")).arrayBuffer());
 *     const samples = await sertool.decode(file);          // a File or Blob -> mono, 16 kHz
 *     model.label(samples);                                // {start, end, arousal, dominance, valence, speech, error}
 *     model.windows(samples, {window: 4, hop: 1});         // one row a second
 *     model.speech(samples);                               // [[start, end], ...] in seconds
 *     const live = model.stream({window: 4, hop: 0.5});    // live.push(samples) -> the rows that became due
 *
 *     const worker = await sertool.worker(bytes);          // the same in a worker; every method returns a promise
 *     await worker.label(samples);
 *
 * Labels are those of `sertool label` and its Python API: the same cuts, averages and errors. sertool.d.ts has the
 * types.
 */
(function library(root) {
"use strict";

const RATE = 16000, FRAME = 160;
/* Longer recordings are checked for speech; a shorter one only has to be more than a constant signal. */
const TELLING = RATE;
/* Longer stretches of speech are passed on in parts. */
const LONGEST = 60 * RATE, BLOCK = 10 * RATE;
/* A rest that is shorter than this share of the window is joined to it. */
const SHORTEST_REST = 1 / 8;
const SILENCE = 1e-4, THRESHOLD = 0.5, LOWER = 0.35, TYPICAL = 0.5, SMALLEST = 1e-7;
const TINY = 1.1754943508222875e-38;
const SILENT = "silent: nothing above -80 dB full scale";
const NO_SPEECH = "no speech found; --no-vad labels it anyway";
const CHUNK = 16384, ALIGNED = 64, BEST = 0, WIDTH = 169, REST = 64;

class AudioError extends Error {}

/* ---- the C code ------------------------------------------------------------------------------------------------ */

class Kernel {
    constructor(instance) {
        this.c = instance.exports;
        this.c._initialize?.();
        this.top = this.c.__heap_base.value;
        this.samples = this.room(4 * CHUNK);
        this.out = this.room(4 * 4 * CHUNK);
        this.cell = this.room(ALIGNED);
    }

    /* Return the address of new memory, which is kept. */
    room(bytes) {
        const at = Math.ceil(this.top / ALIGNED) * ALIGNED, {memory} = this.c;
        this.top = at + bytes;
        const missing = this.top - memory.buffer.byteLength;
        if (missing > 0) memory.grow(Math.ceil(missing / 65536));
        return at;
    }

    floats(at, count) { return new Float32Array(this.c.memory.buffer, at, count); }
    word(at) { return new Uint32Array(this.c.memory.buffer, at, 1)[0]; }
    /* A 64-bit number below 2^53. */
    long(at) { return this.word(at) + this.word(at + 4) * 2 ** 32; }

    check(status) {
        if (!status) return;
        const bytes = new Uint8Array(this.c.memory.buffer), at = this.c.ser_status_text(status);
        throw new AudioError(new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at))));
    }

    /* Copy parts of samples into C's memory; call take(address, count) for each. */
    pushed(samples, take) {
        for (let at = 0; at < samples.length; at += CHUNK) {
            const part = samples.subarray(at, at + CHUNK);
            this.floats(this.samples, part.length).set(part);
            take(this.samples, part.length);
        }
    }
}

class Network {
    constructor(kernel, weights) {
        const {c} = kernel, at = kernel.room(weights.length);
        new Uint8Array(c.memory.buffer, at, weights.length).set(weights);
        const size = c.ser_wav2small_size(at, weights.length, BEST);
        if (!size) throw new Error("the weights are damaged");
        kernel.check(c.ser_wav2small_init(kernel.room(size), size, at, weights.length, BEST, kernel.cell));
        this.kernel = kernel;
        this.engine = kernel.word(kernel.cell);
        this.outputs = c.ser_wav2small_outputs(this.engine);
    }

    /* Return {outputs: [k], embedding: [169]} of samples [n]. */
    run(samples) {
        const {kernel, engine} = this, {c} = kernel;
        c.ser_wav2small_reset(engine);
        for (let pass = c.ser_wav2small_passes(engine); pass > 0; pass--) {
            kernel.pushed(samples, (at, count) => kernel.check(c.ser_wav2small_push(engine, at, count)));
            kernel.check(c.ser_wav2small_next(engine));
        }
        kernel.check(c.ser_wav2small_embedding(engine, kernel.out));
        const embedding = kernel.floats(kernel.out, WIDTH).slice();
        kernel.check(c.ser_wav2small_finish(engine, kernel.out));
        return {outputs: kernel.floats(kernel.out, this.outputs).slice(), embedding};
    }
}

/* Streaming probabilities of speech, one every 10 ms. */
class Vad {
    constructor(kernel) {
        const size = kernel.c.ser_vad_size();
        kernel.check(kernel.c.ser_vad_init(kernel.room(size), size, BEST, kernel.cell));
        this.kernel = kernel;
        this.state = kernel.word(kernel.cell);
    }

    push(samples) {
        const {kernel, state} = this, parts = [];
        kernel.pushed(samples, (at, count) => {
            const room = 4 * CHUNK;
            kernel.check(kernel.c.ser_vad_push(state, at, count, kernel.out, room, kernel.cell));
            parts.push(kernel.floats(kernel.out, kernel.word(kernel.cell)).slice());
        });
        return joined(parts);
    }

    finish() {
        const {kernel} = this;
        kernel.check(kernel.c.ser_vad_finish(this.state, kernel.out, REST, kernel.cell));
        return kernel.floats(kernel.out, kernel.word(kernel.cell)).slice();
    }
}

/* Probabilities to segments [start, end] in samples. */
class Segmenter {
    constructor(kernel) {
        const parameters = kernel.out;
        this.kernel = kernel;
        this.state = kernel.room(kernel.c.ser_segmenter_size());
        kernel.c.ser_vad_parameters_default(parameters);
        kernel.check(kernel.c.ser_segmenter_init(this.state, parameters));
    }

    push(probabilities) {
        const {kernel} = this, result = [];
        for (let at = 0; at < probabilities.length; at += CHUNK / 4) {
            const part = probabilities.subarray(at, at + CHUNK / 4);
            kernel.floats(kernel.samples, part.length).set(part);
            const room = part.length / 2 + 2;
            const status = kernel.c.ser_segmenter_push(
                this.state, kernel.samples, part.length, kernel.out, room, kernel.cell);
            kernel.check(status);
            result.push(...this.pairs());
        }
        return result;
    }

    finish(samples) {
        this.kernel.check(
            this.kernel.c.ser_segmenter_finish(this.state, BigInt(samples), this.kernel.out, this.kernel.cell));
        return this.pairs();
    }

    get uncertain() { return Number(this.kernel.c.ser_segmenter_uncertain(this.state)); }

    pairs() {
        const {kernel} = this;
        return Array.from({length: kernel.word(kernel.cell)}, (_, i) =>
            [kernel.long(kernel.out + 16 * i), kernel.long(kernel.out + 16 * i + 8)]);
    }
}

/* ---- what a bundle does before and after its network ------------------------------------------------------------ */

/* sertool/features/steps.py, in single precision as there. */
const STEPS = {
    trim(samples, {top_db: range = 20, frame = 2048, hop = 512}) {
        const half = Math.floor(frame / 2), count = 1 + Math.floor((samples.length + 2 * half - frame) / hop);
        const power = new Float64Array(Math.max(count, 0));
        let most = 1e-10;
        for (let i = 0; i < power.length; i++) {
            const start = Math.max(0, i * hop - half), end = Math.min(samples.length, i * hop - half + frame);
            let sum = 0;
            for (let k = start; k < end; k++) sum += samples[k] * samples[k];
            power[i] = Math.max(sum / frame, 1e-10);
            most = Math.max(most, power[i]);
        }
        const loud = most * 10 ** (-range / 10), first = power.findIndex(value => value > loud);
        return samples.subarray(first * hop, (power.findLastIndex(value => value > loud) + 1) * hop);
    },
    "pre-emphasis"(samples, {coefficient = 0.97}) {
        const by = Math.fround(coefficient), result = samples.slice();
        for (let i = 1; i < result.length; i++) result[i] = samples[i] - Math.fround(by * samples[i - 1]);
        return result;
    },
    peak(samples, {level = 0.95}) {
        const most = peak(samples), to = Math.fround(level);
        return most > 0 ? samples.map(value => Math.fround(value / most) * to) : samples;
    },
    length(samples, {seconds = 8}) {
        const result = new Float32Array(Math.round(seconds * RATE));
        result.set(samples.subarray(0, result.length));
        return result;
    },
};

/* From outputs to the cells of a row: sertool/labelling/answers.py. */
class Answers {
    constructor(manifest) {
        const {calibration = {}} = manifest;
        this.outputs = manifest.outputs.map(output => output.name);
        this.classes = manifest.task === "categorical";
        this.calibration = calibration;
        this.sure = this.classes && calibration.temperature !== undefined;
        const numbers = this.outputs.flatMap(name =>
            [name, ...(calibration.intervals?.[name] ? [`${name}.low`, `${name}.high`] : [])]);
        this.columns = [...(this.classes ? ["emotion", ...(this.sure ? ["confidence"] : [])] : []), ...numbers,
            ...(calibration.speech ? ["typical"] : [])];
    }

    values({outputs, embedding}) {
        const {speech} = this.calibration;
        if (!speech) return [...outputs];
        const odds = speech.weights.reduce((sum, weight, i) => sum + weight * embedding[i], speech.bias);
        return [...outputs, 1 / (1 + Math.exp(-Math.min(Math.max(odds, -60), 60)))];
    }

    row(values) {
        const row = {}, {calibration} = this, outputs = values.slice(0, this.outputs.length);
        const typical = calibration.speech ? values[values.length - 1] : null;
        if (this.classes) row.emotion = this.outputs[outputs.indexOf(Math.max(...outputs))];
        this.outputs.forEach((name, k) => {
            row[name] = outputs[k];
            const ends = calibration.intervals?.[name];
            if (ends) [row[`${name}.low`], row[`${name}.high`]] = ends.map(offset => outputs[k] + offset);
        });
        if (this.sure) {
            const scaled = outputs.map(value => Math.log(Math.max(value, SMALLEST)) / calibration.temperature);
            const most = Math.max(...scaled), total = scaled.reduce((sum, value) => sum + Math.exp(value - most), 0);
            row.confidence = Math.min(1, typical === null ? 1 : typical / TYPICAL) / total;
        }
        if (typical !== null) row.typical = typical;
        return Object.fromEntries(this.columns.map(name => [name, row[name]]));
    }

    of(row) { return [...this.outputs, ...(this.calibration.speech ? ["typical"] : [])].map(name => row[name]); }
}

/* ---- labels ---------------------------------------------------------------------------------------------------- */

class Model {
    constructor(instance, weights) {
        const view = new DataView(weights.buffer, weights.byteOffset), [at, bytes] = [16, 20].map(k => view.getUint32(k, true));
        this.manifest = JSON.parse(new TextDecoder().decode(weights.subarray(at, at + bytes)));
        const unknown = (this.manifest.preprocessing ?? []).find(entry => !Object.hasOwn(STEPS, entry.step));
        if (unknown) throw new Error(`unknown pre-processing step ${unknown.step}`);
        this.kernel = new Kernel(instance);
        this.network = new Network(this.kernel, weights);
        this.answers = new Answers(this.manifest);
        this.vad = new Vad(this.kernel);
        this.segmenter = new Segmenter(this.kernel);
        this.name = this.manifest.name;
        this.version = this.manifest.version;
        this.outputs = this.answers.outputs;
        this.columns = ["start", "end", ...this.answers.columns, "speech", "error"];
        this.window = this.manifest.window_s;
        this.shortest = this.manifest.shortest_samples;
        this.join = !(this.manifest.preprocessing ?? []).some(entry => entry.step === "length");
    }

    /* The whole recording: the mean over its windows, weighted by their speech. */
    label(samples, {window = this.window, hop = window, vad = true} = {}) {
        const length = samples.length / RATE;
        try {
            usable(samples);
            const rows = this.speechWindows(samples, {window, hop, vad});
            const good = rows.filter(row => row.error === null);
            if (!good.length) throw new AudioError(rows.length ? rows[0].error : "empty: the file holds no audio");
            if (rows.length === 1) return {...rows[0], start: 0, end: length};
            const weights = good.map(row => row.speech || row.end - row.start);
            const total = weights.reduce((a, b) => a + b, 0), values = good.map(row => this.answers.of(row));
            const mean = values[0].map((_, k) =>
                values.reduce((sum, one, i) => sum + one[k] * weights[i], 0) / total);
            const speech = vad ? hop * (rows.length - 1) + rows[rows.length - 1].speech : null;
            return this.row(0, length, mean, {speech});
        } catch (error) {
            if (!(error instanceof AudioError)) throw error;
            return this.row(0, length, null, {error: error.message});
        }
    }

    /* A window every hop, as it is, with its pauses. */
    windows(samples, {window = this.window, hop = window, vad = true} = {}) {
        usable(samples);
        const cuts = spans(0, samples.length, window * RATE, hop * RATE, this.join);
        const found = vad ? this.detect(samples) : null;
        const least = samples.length > TELLING ? LOWER : TINY;
        return cuts.map(([start, end]) => {
            const row = this.one(samples.subarray(start, end), start, end);
            if (!found) return row;
            const speech = found.segments.reduce((sum, [from, to]) =>
                sum + Math.max(0, Math.min(end, to) - Math.max(start, from)), 0) / RATE;
            const frames = found.probabilities.subarray(Math.floor(start / FRAME), Math.ceil(end / FRAME));
            if (row.error === null && !frames.some(value => value >= least))
                return this.row(row.start, row.end, null, {speech, error: NO_SPEECH});
            return {...row, speech};
        });
    }

    /* The windows that `label` averages: of a longer recording, windows of its speech. */
    speechWindows(samples, {window = this.window, hop = window, vad = true} = {}) {
        usable(samples);
        const [wide, step] = [Math.round(window * RATE), Math.round(hop * RATE)];
        if (!vad) return spans(0, samples.length, wide, step, this.join).map(([start, end]) =>
            this.one(samples.subarray(start, end), start, end));
        const whole = Math.floor(window * RATE * (1 + (this.join ? SHORTEST_REST : 0)));
        if (samples.length <= whole) {
            const {segments, probabilities} = this.detect(samples);
            const least = samples.length > TELLING ? LOWER : TINY;
            if (!samples.length) return [];
            if (!probabilities.some(value => value >= least)) throw new AudioError(peak(samples) < SILENCE ? SILENT : NO_SPEECH);
            const speech = segments.reduce((sum, [start, end]) => sum + end - start, 0) / RATE;
            return spans(0, samples.length, wide, step, this.join).map(([start, end]) =>
                ({...this.one(samples.subarray(start, end), start, end), speech}));
        }
        const {segments} = this.detect(samples, true);
        if (!segments.length) throw new AudioError(peak(samples) < SILENCE ? SILENT : NO_SPEECH);
        const speech = joined(segments.map(([start, end]) => samples.subarray(start, end)));
        const passed = [];
        segments.reduce((sum, [start, end]) => (passed.push(sum), sum + end - start), 0);
        const time = sample => {
            let at = passed.length - 1;
            while (passed[at] > sample) at -= 1;
            return segments[at][0] + sample - passed[at];
        };
        return spans(0, speech.length, wide, step, this.join).map(([start, end]) =>
            ({...this.one(speech.subarray(start, end), time(start), time(end - 1) + 1), speech: (end - start) / RATE}));
    }

    /* Stretches of speech [start, end] in seconds. */
    speech(samples) {
        usable(samples);
        return peak(samples) < SILENCE ? []
            : this.detect(samples).segments.map(([start, end]) => [start / RATE, end / RATE]);
    }

    /* Rows of audio that is still coming: push(samples [n] at 16 kHz) returns those that are due. */
    stream({window = 4, hop = 0.5, vad = true} = {}) { return new Stream(this, window, hop, vad); }

    /* Return {outputs, embedding} of samples without windows and speech detection. */
    run(samples) {
        usable(samples);
        let ready = samples;
        for (const {step, ...options} of this.manifest.preprocessing ?? []) ready = STEPS[step](ready, options);
        if (ready.length < this.shortest)
            throw new AudioError(`too short: ${ready.length} samples, ${this.name} needs ${this.shortest}`);
        return this.network.run(ready);
    }

    detect(samples, parted = false) {
        const segments = [], probabilities = [];
        let origin = 0, frames = 0;
        const take = (found, from) => segments.push(...found.map(([start, end]) => [from + start, from + end]));
        for (let at = 0; at < samples.length; at += BLOCK) {
            const part = this.vad.push(samples.subarray(at, at + BLOCK));
            probabilities.push(part);
            frames += part.length;
            take(this.segmenter.push(part), origin);
            if (parted && frames * FRAME - this.segmenter.uncertain > LONGEST) {
                take(this.segmenter.finish(frames * FRAME), origin);
                origin += frames * FRAME;
                frames = 0;
            }
        }
        const rest = this.vad.finish();
        probabilities.push(rest);
        take(this.segmenter.push(rest), origin);
        take(this.segmenter.finish(samples.length - origin), origin);
        return {segments, probabilities: joined(probabilities)};
    }

    one(samples, start, end) {
        try {
            if (peak(samples) < SILENCE) throw new AudioError(SILENT);
            return this.row(start / RATE, end / RATE, this.answers.values(this.run(samples)));
        } catch (error) {
            if (!(error instanceof AudioError)) throw error;
            return this.row(start / RATE, end / RATE, null, {error: error.message});
        }
    }

    row(start, end, values, {speech = null, error = null} = {}) {
        const cells = values ? this.answers.row(values)
            : Object.fromEntries(this.answers.columns.map(name => [name, null]));
        return {start, end, ...cells, speech, error};
    }
}

/* The last seconds of a stream. Times count from its first sample. */
class Stream {
    constructor(model, window, hop, vad) {
        if (!(window >= 1 && window <= 30 && hop >= 0.1 && hop <= window))
            throw new RangeError("window must be 1 to 30 s, hop 0.1 s to the window");
        this.model = model;
        this.hop = Math.round(hop * RATE);
        this.held = new Float32Array(Math.round(window * RATE));
        this.frames = new Float32Array(Math.ceil(this.held.length / FRAME));
        this.detector = vad ? new Vad(model.kernel) : null;
        this.samples = this.count = 0;
        this.due = Math.max(this.hop, RATE);
    }

    push(samples) {
        usable(samples);
        const rows = [];
        for (let at = 0; at < samples.length;) {
            const part = samples.subarray(at, at + Math.min(this.due - this.samples, this.held.length));
            shift(this.held, part);
            if (this.detector) {
                const found = this.detector.push(part);
                shift(this.frames, found);
                this.count += found.length;
            }
            this.samples += part.length;
            at += part.length;
            if (this.samples === this.due) {
                rows.push(this.row());
                this.due += this.hop;
            }
        }
        return rows;
    }

    row() {
        const {model, held} = this, length = Math.min(this.samples, held.length);
        const start = this.samples - length, samples = held.slice(held.length - length);
        if (!this.detector) return model.one(samples, start, this.samples);
        const known = this.frames.subarray(this.frames.length - Math.min(this.count, this.frames.length));
        const speech = known.reduce((sum, value) => sum + (value >= THRESHOLD), 0) * FRAME / RATE;
        if (!known.some(value => value >= LOWER)) {
            const error = peak(samples) < SILENCE ? SILENT : NO_SPEECH;
            return model.row(start / RATE, this.samples / RATE, null, {speech, error});
        }
        return {...model.one(samples, start, this.samples), speech};
    }
}

/* ---- arrays ---------------------------------------------------------------------------------------------------- */

function joined(parts) {
    const result = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (result.set(part, at), at + part.length), 0);
    return result;
}

/* Move the values of an array forward, and put new ones at its end. */
function shift(array, values) {
    const kept = values.subarray(Math.max(0, values.length - array.length));
    array.copyWithin(0, kept.length);
    array.set(kept, array.length - kept.length);
}

function peak(samples) {
    let most = 0;
    for (let i = 0; i < samples.length; i++) most = Math.max(most, Math.abs(samples[i]));
    return most;
}

function usable(samples) {
    if (!(samples instanceof Float32Array)) throw new TypeError("samples must be a Float32Array, mono, at 16 kHz");
    for (let i = 0; i < samples.length; i++)
        if (!(Math.abs(samples[i]) <= 1e12)) throw new AudioError(`NaN or infinity at ${(i / RATE).toFixed(3)} s`);
}

/* sertool/labelling/windows.py */
function spans(start, end, window, hop, join) {
    const rest = join ? Math.floor(window * SHORTEST_REST) : 0, result = [];
    [window, hop] = [Math.round(window), Math.round(hop)];
    while (start < end) {
        const last = end - start < window + Math.max(rest, 1);
        result.push([start, last ? end : start + window]);
        if (last) break;
        start += hop;
    }
    return result;
}

/* ---- audio ----------------------------------------------------------------------------------------------------- */

/* Streaming change of rate to 16 kHz by a windowed sinc, 100 dB down from 8 kHz on. */
class Resampler {
    constructor(rate) {
        if (!(rate >= 4000 && rate <= 768000)) throw new AudioError(`a rate of ${rate} Hz`);
        this.step = rate / RATE;
        this.band = Math.min(1, RATE / rate) * 0.94;
        this.reach = Math.ceil(48 / this.band);
        this.held = new Float32Array(2 * this.reach);
        this.first = -2 * this.reach; // index of held[0]
        this.next = 0; // index of the next output
        this.exact = rate === RATE;
    }

    push(samples) {
        if (this.exact) return samples.slice();
        this.held = joined([this.held, samples]);
        const end = this.first + this.held.length - this.reach, result = [];
        for (; this.next * this.step < end; this.next++) result.push(this.at(this.next * this.step));
        const drop = Math.max(0, Math.floor(this.next * this.step) - this.reach - this.first);
        this.held = this.held.slice(drop);
        this.first += drop;
        return Float32Array.from(result);
    }

    finish() {
        if (this.exact) return new Float32Array(0);
        const end = this.first + this.held.length;
        const rest = this.push(new Float32Array(this.reach + 1)), left = Math.ceil(end / this.step) - (this.next - rest.length);
        return rest.subarray(0, Math.max(0, left));
    }

    at(place) {
        const middle = Math.floor(place);
        let sum = 0;
        for (let k = middle - this.reach + 1; k <= middle + this.reach; k++) {
            const value = this.held[k - this.first];
            if (value) sum += value * this.kernel(place - k);
        }
        return sum;
    }

    kernel(distance) {
        const x = distance * this.band, share = distance / this.reach;
        if (Math.abs(share) >= 1) return 0;
        const cosine = Math.cos(Math.PI * share); // Blackman and Harris, 92 dB
        const taper = 0.35875 + 0.48829 * cosine + 0.14128 * (2 * cosine ** 2 - 1) + 0.01168 * (4 * cosine ** 3 - 3 * cosine);
        return taper * this.band * (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
    }
}

function resampled(samples, rate) {
    const resampler = new Resampler(rate);
    return joined([resampler.push(samples), resampler.finish()]);
}

/* Return mono samples at 16 kHz of a File, Blob or ArrayBuffer in any format that the browser can play.
 * WAV is read here, sample by sample, and so as on the desktop; the rest is up to the browser. */
async function decode(source) {
    const data = source instanceof ArrayBuffer ? source : await source.arrayBuffer();
    const wav = readWav(data);
    if (wav) return resampled(wav.samples, wav.rate);
    let audio;
    try {
        audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(data);
    } catch {
        throw new AudioError("the browser cannot read this file as audio");
    }
    return mixed(Array.from({length: audio.numberOfChannels}, (_, k) => audio.getChannelData(k)));
}

function mixed(channels) {
    if (channels.length === 1) return channels[0].slice();
    return channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
}

/* Return {samples, rate} of a WAV file with PCM or floats; null for anything else. */
function readWav(data) {
    const view = new DataView(data), tag = at => String.fromCharCode(...new Uint8Array(data, at, 4));
    if (data.byteLength < 44 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
    let at = 12, form = null;
    while (at + 8 <= data.byteLength) {
        const size = view.getUint32(at + 4, true), name = tag(at);
        at += 8;
        if (name === "fmt " && size >= 16) {
            const kind = view.getUint16(at, true), extensible = kind === 0xfffe && size >= 40;
            form = {kind: extensible ? view.getUint16(at + 24, true) : kind, channels: view.getUint16(at + 2, true),
                rate: view.getUint32(at + 4, true), bits: view.getUint16(at + 14, true)};
        } else if (name === "data") {
            if (!form || !form.channels) return null;
            const bytes = form.bits / 8, frames = Math.floor(Math.min(size, data.byteLength - at) / bytes / form.channels);
            const read = {
                "1 8": k => (view.getUint8(k) - 128) / 128,
                "1 16": k => view.getInt16(k, true) / 32768,
                "1 24": k => ((view.getInt8(k + 2) << 16) | view.getUint16(k, true)) / 8388608,
                "1 32": k => view.getInt32(k, true) / 2147483648,
                "3 32": k => view.getFloat32(k, true),
                "3 64": k => view.getFloat64(k, true),
            }[`${form.kind} ${form.bits}`];
            if (!read) return null;
            if (size > data.byteLength - at && size < 0xfffffff0) throw new AudioError("the file is truncated");
            if (!frames) throw new AudioError("empty: the file holds no audio");
            const channels = Array.from({length: form.channels}, (_, c) => Float32Array.from({length: frames}, (_, i) =>
                read(at + (i * form.channels + c) * bytes)));
            return {samples: mixed(channels), rate: form.rate};
        }
        at += size + (size & 1);
    }
    return null;
}

/* Listen to the microphone: take(samples [n] at 16 kHz) is called as they come. Return {stop()}. */
async function microphone(take) {
    const quality = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
    const stream = await navigator.mediaDevices.getUserMedia({audio: quality});
    const context = new AudioContext(), resampler = new Resampler(context.sampleRate);
    const node = await listener(context, samples => take(resampler.push(samples)));
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    await context.resume();
    return {
        async stop() {
            node.disconnect();
            stream.getTracks().forEach(track => track.stop());
            await context.close();
        },
    };
}

/* Return a node that passes what it hears to take(samples), and nothing on. */
async function listener(context, take) {
    const code = `registerProcessor("listen", class extends AudioWorkletProcessor {
        process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; } });`;
    const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
    try {
        await context.audioWorklet.addModule(url);
    } catch {
        // Pages from file:// may load no module, so the node that needs none is used there.
        const node = context.createScriptProcessor(4096, 1, 1);
        node.onaudioprocess = event => take(event.inputBuffer.getChannelData(0).slice());
        return node;
    } finally {
        URL.revokeObjectURL(url);
    }
    const node = new AudioWorkletNode(context, "listen");
    node.port.onmessage = ({data}) => take(data);
    return node;
}

/* ---- loading --------------------------------------------------------------------------------------------------- */

/* Load a model from the bytes of its .wasm file, or from a compiled WebAssembly.Module. */
async function load(source) {
    const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(source);
    const [weights] = WebAssembly.Module.customSections(module, "sertool");
    if (!weights) throw new Error("there is no model in this .wasm file");
    return new Model(await WebAssembly.instantiate(module, {}), new Uint8Array(weights));
}

/* Load a model in a worker, from the same sources. Its methods are those of Model; each returns a promise. */
async function worker(source) {
    const url = URL.createObjectURL(new Blob([`(${library})(self);self.sertool.serve(self);`], {type: "text/javascript"}));
    const thread = new Worker(url), waiting = new Map();
    let last = 0;
    thread.onmessage = ({data: {id, value, error}}) => {
        const [resolve, reject] = waiting.get(id);
        waiting.delete(id);
        if (error === undefined) resolve(value); else reject(new AudioError(error));
    };
    thread.onerror = event => waiting.forEach(([, reject]) => reject(new Error(event.message)));
    const ask = (call, ...values) => new Promise((resolve, reject) => {
        waiting.set(last += 1, [resolve, reject]);
        thread.postMessage({id: last, call, values});
    });
    const about = await ask("load", source);
    URL.revokeObjectURL(url);
    const calls = ["label", "windows", "speechWindows", "speech", "listen", "push"];
    const methods = Object.fromEntries(calls.map(call => [call, (...values) => ask(call, ...values)]));
    return {...about, ...methods, close: () => thread.terminate()};
}

/* Answer the calls of `worker`. */
function serve(scope) {
    let model, stream;
    const calls = {
        async load(source) {
            model = await load(source);
            const {name, version, outputs, columns, window, manifest} = model;
            return {name, version, outputs, columns, window, manifest};
        },
        listen(options) { stream = model.stream(options); },
        push(samples) { return stream.push(samples); },
    };
    let turn = Promise.resolve();
    scope.onmessage = ({data: {id, call, values}}) => {
        turn = turn.then(async () => {
            try {
                const value = await (calls[call] ? calls[call](...values) : model[call](...values));
                scope.postMessage({id, value});
            } catch (error) {
                scope.postMessage({id, error: error.message});
            }
        });
    };
}

const api = {load, worker, serve, decode, microphone, readWav, resampled, AudioError, Model, Resampler, RATE};
root.sertool = api;
if (typeof module === "object" && module.exports) module.exports = api;
})(typeof self === "object" ? self : globalThis);
