/* The page: drop recordings, or record; sertool.js labels them in a worker. */
"use strict";

/* Seconds of a row on the timeline, of a recording and of the microphone. */
const COURSE = {window: 2, hop: 0.5}, LIVE = {window: 3, hop: 0.25}, SHOWN = 30;
/* Longer ones have a longer hop on the timeline, so that it stays quick. */
const MOST_ROWS = 400;

let model, colours, timeline, liveline, selected = null, listening = null;
const results = [];

start().catch(error => {
    by("model").textContent = `The model cannot be loaded: ${error.message}`;
    throw error;
});

async function start() {
    const wasm = Uint8Array.from(atob(by("wasm").textContent.trim()), c => c.charCodeAt(0));
    model = await sertool.worker(wasm);
    colours = JSON.parse(atob(by("colours").textContent.trim()));
    const licence = model.manifest.licence ?? "no licence stated";
    by("model").textContent = `${model.outputs.join(", ")}, by ${model.name} ${model.version} (${licence}${
        /-NC\b/.test(licence) ? ": not for commercial use" : ""})`;
    by("meaning").textContent = meaning();
    timeline = new Timeline(by("timeline"), {onseek: seek});
    liveline = new Timeline(by("livetimeline"));
    themed(by("theme"), () => { if (selected) show(selected); });
    for (const name of ["pick", "folder", "speak"]) by(name).disabled = false;
    listen();
    document.body.dataset.ready = "yes";
}

const MEANINGS = {arousal: "how excited a voice sounds", dominance: "how much in control", valence: "how pleasant",
    typical: "how like the speech that the model knows: below 0.5, do not trust the labels",
    confidence: "how many of such labels are right: 0.4 means 40 of 100"};
const NAMES = {seconds: "length (s)", speech: "speech (s)", error: "why it failed"};

/* Say what the numbers are. */
function meaning() {
    const known = shown().filter(name => MEANINGS[name]).map(name => `${name}: ${MEANINGS[name]}`);
    if (model.outputs.includes("valence")) known.push("0.5 is neutral; a voice can go a little below 0 or above 1");
    else known.unshift("the numbers of the emotions are probabilities");
    return known.join(" · ");
}

/* ---- recordings ------------------------------------------------------------------------------------------------ */

let turn = Promise.resolve();

/* Label files one after the other; return a promise of the end. */
function add(files) {
    const list = [...files].filter(file => !file.name.startsWith("."));
    list.forEach((file, place) => {
        turn = turn.then(() => one(file, `${place + 1} of ${list.length}`)).catch(error => { by("state").textContent = error.message; });
    });
    turn = turn.then(() => { by("state").textContent = ""; });
    return turn;
}

async function one(file, place) {
    const name = file.webkitRelativePath || file.path || file.name;
    by("state").textContent = `Labelling ${place}: ${name}`;
    const result = {name, file, row: {error: null}, rows: [], speech: [], peaks: null, seconds: 0};
    try {
        const samples = await sertool.decode(file);
        result.seconds = samples.length / sertool.RATE;
        result.peaks = peaks(samples);
        result.row = await model.label(samples);
        result.speech = await model.speech(samples);
        const hop = Math.max(COURSE.hop, result.seconds / MOST_ROWS), window = Math.max(COURSE.window, hop);
        result.rows = await model.windows(samples, {window, hop});
    } catch (error) {
        result.row = {error: error.message};
    }
    results.push(result);
    list();
    if (!selected || (selected.row.error && !result.row.error)) select(result);
}

function peaks(samples, columns = 800) {
    const result = [], step = samples.length / columns;
    let most = 1e-9;
    for (let i = 0; i < columns; i++) {
        let high = 0;
        for (let k = Math.floor(i * step); k < (i + 1) * step && k < samples.length; k++) high = Math.max(high, Math.abs(samples[k]));
        most = Math.max(most, high);
        result.push(high);
    }
    return result.map(value => value / most);
}

/* Return the files below what was dropped. */
async function dropped(items) {
    const found = [];
    const walk = async (entry, path) => {
        if (entry.isFile) {
            const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
            file.path = path + file.name;
            found.push(file);
            return;
        }
        const reader = entry.createReader();
        for (;;) {
            const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
            if (!entries.length) return;
            for (const inner of entries) await walk(inner, `${path}${entry.name}/`);
        }
    };
    for (const entry of [...items].map(item => item.webkitGetAsEntry?.()).filter(Boolean)) await walk(entry, "");
    return found;
}

/* ---- what is shown --------------------------------------------------------------------------------------------- */

const shown = () => model.columns.filter(name => !/^(start|end)$|\.(low|high)$/.test(name));
const isNumber = name => !["emotion", "error"].includes(name);

/* Say what is wrong with a recording without units. */
const plainly = text => (text ?? "").replace(/^silent: .*/, "silent: there is no sound in it");

function list() {
    by("results").hidden = false;
    const failed = results.filter(result => result.row.error).length;
    by("count").textContent = `${results.length - failed} labelled${failed ? `, ${failed} failed` : ""}`;
    by("head").replaceChildren(make("th", "", "file"), make("th", "number", NAMES.seconds),
        ...shown().map(name => make("th", isNumber(name) ? "number" : "", NAMES[name] ?? name)));
    by("body").replaceChildren(...results.map(result => {
        const line = make("tr", result === selected ? "selected" : ""), head = make("th");
        head.append(make("button", "", result.name));
        line.append(head, make("td", "number", result.seconds ? result.seconds.toFixed(1) : ""));
        for (const name of shown()) {
            const value = result.row[name], cell = make("td", isNumber(name) ? "number" : "");
            if (name === "emotion" && value) cell.append(chip(value, colours[value]));
            else cell.textContent = value === null || value === undefined ? ""
                : isNumber(name) ? value.toFixed(name === "speech" ? 1 : 2) : value;
            if (name === "error") {
                cell.classList.add("bad");
                cell.textContent = plainly(value);
            }
            cell.title = cell.textContent;
            line.append(cell);
        }
        line.addEventListener("click", () => select(result, true));
        return line;
    }));
}

function select(result, play = false) {
    selected = result;
    list();
    show(result);
    const player = by("player");
    player.src = URL.createObjectURL(result.file);
    player.hidden = Boolean(result.row.error) && !result.peaks;
    if (play && !player.hidden) player.play().catch(() => {});
}

function show(result) {
    by("detail").hidden = false;
    by("name").textContent = result.name;
    facts(by("facts"), result.row);
    timeline.show(drawn(result.seconds || 1, result.rows, result.peaks, result.speech, result.row.error));
}

function facts(element, row) {
    element.replaceChildren();
    if (row.error) return element.append(make("span", "bad", plainly(row.error)));
    if (row.emotion) element.append(chip(row.emotion, colours[row.emotion]));
    for (const name of row[model.outputs[0]] == null ? [] : [...model.outputs, ...(row.confidence == null ? [] : ["confidence"])]) {
        const fact = make("span");
        fact.append(make("span", "quiet", `${name} `), make("b", "", row[name].toFixed(2)));
        element.append(fact);
    }
}

function drawn(seconds, rows, wave, speech, reason) {
    return {
        seconds, peaks: wave, speech, reason,
        rows: rows.map(row => ({...row, values: model.outputs.map(name => row[name] ?? null), labels: [row.emotion], text: null})),
        strips: [""],
        outputs: model.outputs.map(name => ({name, colour: paint(colours[name])})),
        classes: Object.fromEntries(Object.entries(colours).map(([name, index]) => [name, paint(index)])),
    };
}

function seek(seconds) {
    by("player").currentTime = seconds;
    by("player").play().catch(() => {});
}

function follow() {
    timeline.at(by("player").currentTime);
    if (!by("player").paused) requestAnimationFrame(follow);
}

function save() {
    const rounded = value => (typeof value === "number" ? Number(value.toFixed(6)) : value);
    saveTable("labels.csv", [["file", ...model.columns], ...results.map(({name, row}) =>
        [name, ...model.columns.map(column => rounded(row[column]))])]);
}

/* ---- the microphone -------------------------------------------------------------------------------------------- */

async function speak() {
    by("state").textContent = "";
    await model.listen(LIVE);
    const rows = [], wave = [];
    let seconds = 0;
    try {
        listening = await sertool.microphone(samples => {
            seconds += samples.length / sertool.RATE;
            wave.push([seconds, samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0)]);
            model.push(samples).then(found => { if (found.length) hear(found); });
        });
    } catch (error) {
        by("state").textContent = `No microphone: ${error.message}`;
        return;
    }
    by("live").hidden = false;
    by("speak").disabled = true;
    by("dot").hidden = false;

    function hear(found) {
        rows.push(...found);
        const row = rows[rows.length - 1], from = Math.max(0, seconds - SHOWN);
        facts(by("now"), row.error ? {} : row);
        while (rows.length && rows[0].end < from) rows.shift();
        while (wave.length && wave[0][0] < from) wave.shift();
        const columns = new Array(300).fill(0), most = Math.max(...wave.map(([, value]) => value), 1e-3);
        wave.forEach(([time, value]) => {
            const place = Math.min(Math.floor((time - from) / SHOWN * 300), 299);
            columns[place] = Math.max(columns[place], 0.85 * value / most);
        });
        // A row stands where its window ends: it is what was heard just now.
        const placed = rows.map(one => ({...one, start: Math.max(0, one.end - LIVE.hop - from), end: one.end - from}));
        liveline.show(drawn(SHOWN, placed, columns, []));
        liveline.at(Math.max(0, row.end - from - 0.01));
        by("live").dataset.rows = String(Number(by("live").dataset.rows ?? 0) + found.length);
    }
}

async function quiet() {
    await listening?.stop();
    listening = null;
    by("speak").disabled = false;
    by("dot").hidden = true;
}

/* ---- events ---------------------------------------------------------------------------------------------------- */

function listen() {
    by("pick").addEventListener("click", () => by("files").click());
    by("folder").addEventListener("click", () => by("tree").click());
    for (const name of ["files", "tree"]) by(name).addEventListener("change", event => add(event.target.files));
    by("speak").addEventListener("click", speak);
    by("stop").addEventListener("click", quiet);
    by("save").addEventListener("click", save);
    by("clear").addEventListener("click", () => {
        results.length = 0;
        selected = null;
        by("player").pause();
        for (const name of ["results", "detail"]) by(name).hidden = true;
    });
    by("player").addEventListener("play", () => requestAnimationFrame(follow));
    by("player").addEventListener("seeked", () => timeline.at(by("player").currentTime));
    const drop = by("drop");
    for (const name of ["dragenter", "dragover"]) document.addEventListener(name, event => {
        event.preventDefault();
        drop.classList.add("over");
    });
    document.addEventListener("dragleave", event => { if (!event.relatedTarget) drop.classList.remove("over"); });
    document.addEventListener("drop", async event => {
        event.preventDefault();
        drop.classList.remove("over");
        const plain = [...event.dataTransfer.files], found = await dropped(event.dataTransfer.items);
        add(found.length ? found : plain);
    });
}
