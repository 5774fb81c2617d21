/* The report's view of one recording: its labels, a timeline with a player, and its passages. */
"use strict";

const player = by("player");

function select(item, {scroll = true, play = false} = {}) {
    const before = selected?.file;
    selected = item;
    by("detail").hidden = !item;
    if (!item) return;
    detail(before !== item.file);
    if (scroll) {
        const place = shown.indexOf(item) * ROW, low = scroller.scrollTop, high = low + scroller.clientHeight - 2 * ROW;
        if (place >= 0 && (place < low || place > high)) scroller.scrollTop = place - scroller.clientHeight / 3;
    }
    fillTable();
    drawMap();
    write();
    if (play) hear(item);
}

function detail(load) {
    const item = selected, sound = data.sounds[item.file];
    const part = item.rows.length === 1 && data.many && at("start", item.rows[0]) !== null;
    by("name").textContent = data.files[item.file];
    const facts = by("facts");
    facts.replaceChildren();
    if (part) facts.append(make("span", "quiet", `${clock(item.cells.start, 1)} to ${clock(item.cells.end ?? item.cells.start, 1)}:`));
    if (item.failed) facts.append(make("span", "bad", item.cells.error));
    else for (const {label, outputs} of data.labels) {
        if (!item.cells[label]) continue;
        if (data.labels.length > 1) facts.append(make("span", "quiet", `${strips()[data.labels.findIndex(one => one.label === label)]}: `));
        facts.append(chip(item.cells[label], data.colours[item.cells[label]]), " ");
    }
    if (!item.failed) for (const name of data.facts) {
        if (item.cells[name] === null || item.cells[name] === undefined) continue;
        const fact = make("span", "fact");
        const low = item.cells[`${name}.low`], high = item.cells[`${name}.high`];
        const interval = low === null || low === undefined ? "" : ` (${low.toFixed(2)} to ${high.toFixed(2)})`;
        fact.append(make("span", "quiet", `${called(name)} `), make("b", "", item.cells[name].toFixed(2)), make("span", "quiet", interval));
        facts.append(fact, " ");
    }
    if (!item.failed && item.cells.typical < 0.5 && item.cells.typical !== null)
        facts.append(make("span", "bad", "unlike the speech that the model knows"));
    if (!item.failed && item.cells.verdict) facts.append(make("b", item.cells.verdict === "wrong" ? "bad" : "",
        item.cells.verdict));
    const rows = data.rowsOf[item.file].filter(row => item.rows.length > 1 || sameVoice(row, item.rows[0])).map(row => ({
        start: at("start", row) ?? 0, end: at("end", row) ?? sound.seconds ?? 0,
        values: data.lines.map(line => at(line.name, row)),
        low: data.lines.map(line => at(`${line.name}.low`, row)), high: data.lines.map(line => at(`${line.name}.high`, row)),
        labels: data.labels.map(one => at(one.label, row)), text: at("text", row), error: at("error", row),
    })).sort((a, b) => a.start - b.start);
    const playing = load ? 0 : player.currentTime;
    timeline.show({
        seconds: sound.seconds || extremes(rows.map(row => row.end))[1] || 1, speech: sound.speech,
        peaks: sound.peaks ? unpeak(sound.peaks) : null, reason: sound.reason, rows, strips: strips(),
        outputs: data.lines.map((line, k) => ({name: line.name, colour: paint(line.colour), dash: line.dash,
            hidden: Boolean(data.compared) && data.lines.length > 3
                && !rows.some(row => row.values[k] >= UNLIKELY || row.labels.includes(bare(line.name)))})),
        classes: Object.fromEntries(Object.entries(data.colours).map(([name, index]) => [name, paint(index)])),
    });
    timeline.at(playing || (item.rows.length === 1 ? at("start", item.rows[0]) ?? 0 : 0));
    passages(rows);
    if (!load) return;
    player.pause();
    const source = by(`a${item.file}`)
        ? `data:audio/ogg;base64,${by(`a${item.file}`).textContent.trim()}` : sound.seconds ? sound.src : null;
    by("noaudio").textContent = source || item.failed ? "" : sound.reason ?? "";
    player.hidden = !source;
    if (source) player.src = source; else player.removeAttribute("src");
}

/* What the timeline's strips of classes are called. */
const strips = () => (data.compared && data.labels.length ? data.compared : data.labels.map(() => ""));

/* Beside another table's lines, those of classes that neither names and that never reach this wait to be asked for. */
const UNLIKELY = 0.25;
/* A recording of at least so many rows has a list of passages, with at most so many of a kind. */
const FEW_ROWS = 3, MOST_PASSAGES = 4;

/* List where the recording is what: of each class its share and strongest passages, of each number its extremes. */
function passages(rows) {
    const good = rows.filter(row => !row.error && row.end > row.start), list = make("ul");
    by("passages").replaceChildren();
    if (good.length < FEW_ROWS || data.compared) return;
    if (data.labels.length) classPassages(good, list); else numberPassages(good, list);
    by("passages").append(make("h3", "", "Where to listen"), list);
    if (data.labels.length) by("passages").append(make("p", "quiet", "Of the time that has a label, pauses within it too."));
}

/* Return a time as players write it: 0:09, 1:02:10. */
const minutes = seconds => (seconds < 60 ? `0:${String(Math.floor(seconds)).padStart(2, "0")}` : clock(seconds));

function place(seconds, text) {
    const button = make("button", "", text);
    button.title = "Hear it";
    button.addEventListener("click", () => seek(seconds));
    return button;
}

function classPassages(rows, list) {
    const found = new Map(), {outputs} = data.labels[0], lines = data.lines.map(line => line.name);
    let whole = 0;
    territories(rows).forEach(([start, end], i) => {
        const row = rows[i], [name] = row.labels;
        const share = row.values[lines.indexOf(outputs.find(output => bare(output) === name))] ?? 1;
        if (!found.has(name)) found.set(name, {seconds: 0, passages: []});
        const own = found.get(name), last = own.passages[own.passages.length - 1];
        whole += end - start;
        own.seconds += end - start;
        if (last && start <= last.end + 0.001 && last.row === i - 1) Object.assign(last, {end, row: i, most: Math.max(last.most, share)});
        else own.passages.push({start, end, row: i, most: share});
    });
    for (const [name, own] of [...found].sort((a, b) => b[1].seconds - a[1].seconds)) {
        const item = make("li"), strength = one => one.most * spokenShare(one.start, one.end);
        const strongest = [...own.passages].sort((a, b) => strength(b) - strength(a) || a.start - b.start);
        item.append(chip(name, data.colours[name]), make("span", "", ` ${Math.round(own.seconds / whole * 100)} % of the time, strongest at `));
        strongest.slice(0, MOST_PASSAGES).forEach(one => item.append(place(one.start, `${minutes(one.start)}–${minutes(one.end)}`), " "));
        const more = strongest.length - MOST_PASSAGES;
        if (more > 0) item.append(make("span", "quiet", `and ${more} more`));
        list.append(item);
    }
}

/* How much of a second, or of a passage that is shorter, is speech: where hardly anybody speaks is nothing to hear. */
function spokenShare(from, to) {
    const {speech} = timeline.recording;
    if (!speech) return 1;
    const seconds = speech.reduce((sum, [start, end]) => sum + Math.max(0, Math.min(end, to) - Math.max(start, from)), 0);
    return Math.min(1, seconds / Math.min(1, to - from));
}

function numberPassages(rows, list) {
    data.lines.forEach(({name, colour}, k) => {
        const known = rows.filter(row => row.values[k] !== null).sort((a, b) => a.values[k] - b.values[k]);
        if (!known.length) return;
        const [low, high] = [known[0], known[known.length - 1]], item = make("li"), mark = make("i", "swatch");
        mark.style.background = `var(--c${colour})`;
        item.append(mark, make("b", "", name), make("span", "", " highest at "),
            place(high.start, minutes(high.start)), make("span", "", ` (${high.values[k].toFixed(2)}), lowest at `),
            place(low.start, minutes(low.start)), make("span", "", ` (${low.values[k].toFixed(2)})`));
        list.append(item);
    });
}

/* Of several channels or speakers, the timeline shows the selected one. */
const sameVoice = (row, own) => ["track", "channel", "speaker"].every(name =>
    name === "speaker" && !data.places.includes("speaker") ? true : at(name, row) === at(name, own));

const unpeak = text => Array.from(text, c => (c.charCodeAt(0) - 48) / 31);

function hear(item) {
    if (player.hidden) return;
    const from = item.rows.length === 1 && data.many ? at("start", item.rows[0]) ?? 0 : 0;
    if (from && player.readyState === 0) player.addEventListener("loadedmetadata", () => { player.currentTime = from; }, {once: true});
    else if (from) player.currentTime = from;
    player.play().catch(() => {});
}

function seek(seconds) {
    timeline.at(seconds);
    if (player.hidden) return;
    player.currentTime = seconds;
    player.play().catch(() => {});
}

function follow() {
    timeline.at(player.currentTime);
    if (!player.paused) requestAnimationFrame(follow);
}
