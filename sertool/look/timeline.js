/* A recording over time: waveform, speech, and the outputs of its rows. Shared by the report and the web page.
 *
 *   const timeline = new Timeline(element, {onseek: seconds => ...});
 *   timeline.show({seconds, peaks, speech, rows, outputs, classes});
 *   timeline.at(seconds);                       // move the cursor
 *
 * peaks: [n] from 0 to 1, or null. speech: [[start, end]] in seconds. rows: [{start, end, values: [k], low: [k] or
 * null, high, labels: [s], text, error}]. outputs: [{name, colour, dash, hidden}]; a click on its name in the legend
 * hides or shows one. strips: [s] names of the strips of classes, "" for none. classes: {name: colour}.
 */
"use strict";

class Timeline {
    static WAVE = 56;
    static STRIP = 20;
    static PLOT = 132;
    static AXIS = 20;
    static LEFT = 30;
    static ROOM = 14;

    constructor(element, {onseek = () => {}} = {}) {
        this.element = element;
        this.onseek = onseek;
        this.recording = null;
        this.cursor = 0;
        this.pointed = null;
        this.left = Timeline.LEFT;
        this.wishes = new Map(); // what the reader wants to see, by name, whatever recording is shown
        element.classList.add("timeline");
        this.canvas = document.createElement("canvas");
        this.canvas.setAttribute("role", "img");
        this.read = document.createElement("p");
        this.read.className = "readout";
        this.legend = document.createElement("ul");
        this.legend.className = "legend";
        element.replaceChildren(this.legend, this.canvas, this.read);
        this.canvas.addEventListener("pointermove", event => this.point(event));
        this.canvas.addEventListener("pointerleave", () => this.point(null));
        this.canvas.addEventListener("click", event => this.onseek(this.seconds(event)));
        new ResizeObserver(() => this.draw()).observe(element);
    }

    show(recording) {
        this.recording = recording;
        this.cursor = 0;
        this.pointed = null;
        const text = [`${clock(recording.seconds)} long`, `${recording.rows.length} labelled stretches`];
        if (recording.speech) text.push(`${recording.speech.length} stretches of speech`);
        this.canvas.setAttribute("aria-label", `Timeline: ${text.join(", ")}. The table has the same numbers.`);
        this.legend.replaceChildren(...recording.outputs.map(output => {
            const item = document.createElement("li"), button = document.createElement("button");
            const mark = document.createElement("i");
            mark.style.borderTopColor = output.colour;
            if (output.dash) mark.style.borderTopStyle = "dashed";
            button.append(mark, output.name);
            button.type = "button";
            button.title = "Hide or show it";
            button.setAttribute("aria-pressed", String(this.shows(output)));
            button.addEventListener("click", () => {
                this.wishes.set(output.name, !this.shows(output));
                button.setAttribute("aria-pressed", String(this.shows(output)));
                this.draw();
                this.tell();
            });
            item.append(button);
            return item;
        }));
        if (recording.speech?.length) {
            const item = document.createElement("li");
            const mark = document.createElement("i");
            mark.className = "speech";
            item.append(mark, this.strips ? "speech; the strip is pale elsewhere" : "speech");
            this.legend.append(item);
        }
        if (recording.rows.some(row => row.low?.some(value => value != null))) {
            const item = document.createElement("li");
            item.textContent = "bar or band: the true value is probably in it";
            item.className = "quiet";
            this.legend.append(item);
        }
        this.draw();
        this.tell();
    }

    at(seconds) {
        this.cursor = seconds;
        this.draw();
        if (this.pointed === null) this.tell();
    }

    shows(output) {
        return this.wishes.get(output.name) ?? !output.hidden;
    }

    /* How many strips of classes and texts there are. */
    get strips() {
        const {rows, strips} = this.recording;
        return rows.some(row => row.text || row.labels.some(Boolean)) ? Math.max(strips.length, 1) : 0;
    }

    /* Whether there is anything to draw as a line. */
    get plotted() {
        return this.recording.rows.some(row => !row.error && row.values.some(value => value != null));
    }

    seconds(event) {
        const box = this.canvas.getBoundingClientRect();
        const share = (event.clientX - box.left - this.left) / (box.width - this.left);
        return Math.min(Math.max(share, 0), 1) * this.recording.seconds;
    }

    point(event) {
        if (!this.recording) return;
        this.pointed = event && this.seconds(event);
        this.draw();
        this.tell();
    }

    /* Write the values at the pointer, or at the cursor, below the picture. */
    tell() {
        const time = this.pointed ?? this.cursor;
        const {rows, outputs, strips} = this.recording;
        const place = territories(rows).findIndex(([from, to]) => from <= time && time < to);
        const row = rows[place] ?? (rows.length === 1 ? rows[0] : null);
        const parts = [`at ${clock(time, 1)}`];
        if (row?.error) parts.push(row.error);
        else if (row) {
            row.labels.forEach((label, k) => {
                if (label) parts.push(strips[k] ? `${strips[k]}: ${label}` : label);
            });
            outputs.forEach((output, k) => {
                if (row.values[k] != null && this.shows(output)) parts.push(`${output.name} ${row.values[k].toFixed(2)}`);
            });
            if (row.text) parts.push(`“${row.text}”`);
        } else parts.push("nothing labelled here");
        this.read.textContent = parts.join("  ·  ");
    }

    draw() {
        const {recording, canvas} = this;
        if (!recording) return;
        const wide = this.element.clientWidth, ratio = window.devicePixelRatio || 1;
        if (!wide) return;
        const strip = this.strips * Timeline.STRIP;
        const tall = Timeline.WAVE + strip + (this.plotted ? Timeline.PLOT : 0) + Timeline.AXIS;
        canvas.width = Math.round(wide * ratio);
        canvas.height = Math.round(tall * ratio);
        canvas.style.width = `${wide}px`;
        canvas.style.height = `${tall}px`;
        const pen = canvas.getContext("2d");
        pen.scale(ratio, ratio);
        this.style = getComputedStyle(this.element);
        pen.font = `11px ${this.style.fontFamily}`;
        const names = recording.strips.map(name => (this.strips && name ? pen.measureText(name).width + 8 : 0));
        const left = this.left = Math.min(Math.max(Timeline.LEFT, ...names), wide / 4), x = time => left + (time / (recording.seconds || 1)) * (wide - left - 1);
        this.drawSpeech(pen, x, tall - Timeline.AXIS);
        this.drawWave(pen, x);
        for (let k = 0; k < this.strips; k++) this.drawStrip(pen, x, Timeline.WAVE + k * Timeline.STRIP, k);
        if (this.plotted) this.drawOutputs(pen, x, Timeline.WAVE + strip, wide);
        this.drawAxis(pen, x, tall - Timeline.AXIS, wide);
        for (const [time, colour] of [[this.pointed, "--muted"], [this.cursor, "--accent"]]) {
            if (time === null) continue;
            pen.fillStyle = this.colour(colour);
            pen.fillRect(x(time) - 0.75, 0, 1.5, tall - Timeline.AXIS);
        }
    }

    colour(name) {
        return this.style.getPropertyValue(name).trim();
    }

    drawSpeech(pen, x, bottom) {
        pen.fillStyle = this.colour("--speech");
        for (const [start, end] of this.recording.speech ?? []) {
            pen.fillRect(x(start), 0, Math.max(x(end) - x(start), 1), bottom);
        }
    }

    drawWave(pen, x) {
        const {peaks, seconds, reason} = this.recording, middle = Timeline.WAVE / 2;
        pen.fillStyle = this.colour(peaks ? "--wave" : "--muted");
        if (!peaks) {
            pen.font = `12px ${this.style.fontFamily}`;
            pen.fillText(reason ?? "no waveform", x(0) + 4, middle + 4);
            return;
        }
        const step = seconds / peaks.length, bar = Math.max((x(seconds) - x(0)) / peaks.length, 0.6);
        peaks.forEach((peak, i) => {
            const high = Math.max(peak * (middle - 3), 0.5);
            pen.fillRect(x(i * step), middle - high, bar, 2 * high);
        });
    }

    /* The rows' classes as coloured stretches, and on the first strip their texts. */
    drawStrip(pen, x, top, which) {
        const {strips, seconds} = this.recording, high = Timeline.STRIP - 4, stretches = [];
        const rows = this.recording.rows.map(row => ({...row, label: row.labels[which], text: which ? null : row.text}));
        pen.font = `11px ${this.style.fontFamily}`;
        pen.fillStyle = this.colour("--muted");
        pen.textAlign = "right";
        pen.fillText(strips[which] ?? "", this.left - 6, top + 12, this.left - 6);
        pen.textAlign = "left";
        pen.strokeStyle = this.colour("--line");
        pen.lineWidth = 1;
        pen.strokeRect(x(0) + 0.5, top + 0.5, x(seconds) - x(0) - 1, high - 1);
        for (const [i, [start, end]] of territories(rows).entries()) {
            const row = rows[i], last = stretches[stretches.length - 1];
            const same = last && last.label === row.label && !last.text && !row.text && start <= last.end + 0.001;
            if (same) last.end = end; else stretches.push({...row, start, end});
        }
        const places = stretches.map(row => [x(row.start), Math.max(x(row.end) - x(row.start) - 1, 1)]);
        for (const [i, row] of stretches.entries()) {
            const [from, width] = places[i], colour = this.recording.classes?.[row.label];
            if (!colour) continue;
            pen.globalAlpha = 0.4;
            pen.fillStyle = colour;
            pen.fillRect(from, top, width, high);
            pen.globalAlpha = 1;
            pen.fillRect(from, top + high - 3, width, 3);
        }
        pen.fillStyle = this.colour("--card"); // nobody speaks: pale
        pen.globalAlpha = 0.65;
        for (const [start, end] of this.pauses()) pen.fillRect(x(start), top + 1, x(end) - x(start), high - 2);
        pen.globalAlpha = 1;
        for (const [i, row] of stretches.entries()) {
            const [from, width] = places[i];
            pen.save();
            pen.beginPath();
            pen.rect(from, top, width, high);
            pen.clip();
            const text = [row.label, row.text].filter(Boolean).join(": ");
            if (pen.measureText(text).width < width - 6) { // no half words
                pen.fillStyle = this.colour("--text");
                pen.fillText(text, from + 4, top + 11);
            }
            pen.restore();
        }
    }

    /* The stretches without speech, if speech is known. */
    pauses() {
        const {speech, seconds} = this.recording, result = [];
        if (!speech?.length) return result;
        let before = 0;
        for (const [start, end] of speech) {
            if (start - before > 0.3) result.push([before, start]);
            before = Math.max(before, end);
        }
        if (seconds - before > 0.3) result.push([before, seconds]);
        return result;
    }

    drawOutputs(pen, x, top, wide) {
        const {rows, outputs} = this.recording;
        const known = rows.filter(row => !row.error);
        const values = known.flatMap(row => [row.values, row.low ?? [], row.high ?? []].flat().filter(value => value != null));
        const drawn = outputs.filter(output => this.shows(output));
        const [lowest = 0, highest = 1] = extremes(values); // far intervals are cut
        const least = Math.max(Math.min(0, lowest), -0.4), most = Math.min(Math.max(1, highest), 1.4);
        const high = Timeline.PLOT - 12, y = value => top + 6 + (1 - (value - least) / (most - least)) * high;
        pen.font = `11px ${this.style.fontFamily}`;
        pen.textAlign = "right";
        for (const value of [0, 0.5, 1]) {
            pen.fillStyle = this.colour("--grid");
            pen.fillRect(x(0), y(value) - 0.5, wide - x(0), 1);
            pen.fillStyle = this.colour("--muted");
            pen.fillText(String(value), x(0) - 6, y(value) + 4);
        }
        pen.textAlign = "left";
        const right = wide; // of one row, intervals stand at the end, where they do not look like a moment
        const overlap = known.some((row, i) => i && row.start < known[i - 1].end - 0.001);
        outputs.forEach((output, k) => {
            if (!this.shows(output)) return;
            const own = known.filter(row => row.values[k] != null);
            pen.fillStyle = pen.strokeStyle = output.colour;
            pen.setLineDash(output.dash ? [5, 4] : []);
            for (const row of own) { // an interval: a bar of its own where there is room, else a band
                if (row.low?.[k] == null) continue;
                const from = y(Math.min(row.high[k], most)), tall = y(Math.max(row.low[k], least)) - from, wide = x(row.end) - x(row.start);
                const roomy = !overlap && wide > Timeline.ROOM * drawn.length;
                const place = drawn.indexOf(output) - (drawn.length - 1) / 2;
                const middle = own.length === 1 ? right - (drawn.length - drawn.indexOf(output)) * Timeline.ROOM + 4
                    : x((row.start + row.end) / 2) + place * Timeline.ROOM;
                pen.globalAlpha = roomy ? 0.6 : 0.13;
                if (!roomy) pen.fillRect(x(row.start), from, wide, tall);
                else for (const [across, down, high] of [[1, 0, tall], [4, 0, 1.5], [4, tall - 1.5, 1.5]])
                    pen.fillRect(middle - across, from + down, 2 * across, high);
            }
            const middles = own.map(row => [x((row.start + row.end) / 2), y(row.values[k])]);
            pen.globalAlpha = overlap ? 1 : 0.35;
            pen.lineWidth = overlap ? 1.8 : 1;
            pen.beginPath();
            middles.forEach(([at, value], i) => (i ? pen.lineTo(at, value) : pen.moveTo(at, value)));
            pen.stroke();
            pen.globalAlpha = 1;
            pen.lineWidth = 2.2;
            pen.beginPath();
            for (const row of overlap ? [] : own) {
                pen.moveTo(x(row.start), y(row.values[k]));
                pen.lineTo(Math.max(x(row.end), x(row.start) + 2), y(row.values[k]));
            }
            pen.stroke();
        });
        pen.setLineDash([]);
        pen.globalAlpha = 1;
    }

    drawAxis(pen, x, top, wide) {
        const {seconds} = this.recording, most = Math.max(2, Math.floor((wide - Timeline.LEFT) / 80));
        const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000];
        const step = steps.find(one => seconds / one <= most) ?? 86400;
        pen.fillStyle = this.colour("--muted");
        pen.font = `11px ${this.style.fontFamily}`;
        for (let i = 0; i * step <= seconds; i++) {
            const at = x(i * step), text = clock(i * step, step < 1 ? 1 : 0);
            pen.fillRect(at, top, 1, 4);
            pen.textAlign = i === 0 ? "left" : at > wide - 20 ? "right" : "center";
            pen.fillText(text, at, top + 15);
        }
        pen.textAlign = "left";
    }
}

/* Return [from, to] of each row: its own time, and of rows that overlap, what is nearer to its middle than to others'. */
function territories(rows) {
    const middle = row => (row.start + row.end) / 2, overlap = (a, b) => b.start < a.end - 0.001;
    return rows.map((row, i) => {
        const before = rows[i - 1], after = rows[i + 1];
        return [before && overlap(before, row) ? (middle(before) + middle(row)) / 2 : row.start,
            after && overlap(row, after) ? (middle(row) + middle(after)) / 2 : row.end];
    });
}

/* Return [least, most] of numbers, however many; nothing if there are none. */
function extremes(values) {
    let least = Infinity, most = -Infinity;
    for (const value of values) {
        if (value < least) least = value;
        if (value > most) most = value;
    }
    return most < least ? [] : [least, most];
}

/* Return seconds as 4.2 s, 1:05 or 2:03:10. */
function clock(seconds, digits = 0) {
    if (seconds < 60) return `${seconds.toFixed(digits)} s`;
    const whole = Math.floor(seconds), two = number => String(number).padStart(2, "0");
    const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
