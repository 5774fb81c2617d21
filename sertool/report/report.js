/* The report: a map, a table and a timeline of the same recordings. Everything in it is written as text, never as
 * markup. The data is described in sertool/report/__init__.py. Here are the items and what is shown of them; the
 * other scripts draw: map.js, groups.js, table.js, recording.js. */
"use strict";

const several = "(several)";

let data, items = [], shown = [], selected = null, timeline;
const state = {q: "", sort: "", down: false, x: "", y: "", colour: "", group: "", value: "", level: "", box: null};

unpack(by("data").textContent).then(start).catch(error => {
    by("summary").textContent = `This report cannot be shown: ${error.message}. It needs a browser from 2023 or newer.`;
    throw error;
});

async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
}

/* ---- items: rows of the table, or recordings ------------------------------------------------------------------ */

function start(loaded) {
    data = loaded;
    for (const column of data.columns) if (column.of) { // an interval: sent as its distance from the output
        const origin = data.columns.find(other => other.name === column.of);
        column.values = origin.values.map(value => (value === null ? null : value + column.offset));
    }
    if (data.sounds.some(sound => sound.seconds) && !data.columns.some(column => column.name === "length")) {
        const values = data.file.map(file => data.sounds[file].seconds ?? null);
        data.columns.splice(data.columns.findIndex(column => column.name === "speech"), 0, {name: "length", kind: "number", values,
            hidden: data.files.length === 1});
    }
    data.column = Object.fromEntries(data.columns.map(column => [column.name, column]));
    data.rowsOf = data.files.map(() => []);
    data.file.forEach((file, row) => data.rowsOf[file].push(row));
    data.many = data.rowsOf.some(rows => rows.length > 1);
    state.level = data.many && data.level === "row" ? "row" : "recording";
    timeline = new Timeline(by("timeline"), {onseek: seek});
    document.title = data.title;
    by("title").textContent = data.title;
    by("caution").textContent = data.caution;
    read();
    controls();
    rebuild();
    listen();
    themed(by("theme"), () => { if (items.length) refresh(); });
    const wanted = items.find(item => item.key === state.wanted) ?? null;
    select(wanted ?? shown.find(item => !item.failed) ?? shown[0] ?? null, {scroll: Boolean(wanted), play: false});
    document.body.dataset.ready = "yes";
}

function rebuild() {
    items = state.level === "row" ? data.file.map((file, row) => item(file, [row]))
        : data.rowsOf.map((rows, file) => item(file, rows));
    items.forEach((one, index) => { one.index = index; });
    summary();
    refresh();
}

/* One item: cells by column. Of several rows, numbers are means weighted by duration. */
function item(file, rows) {
    const cells = {}, good = rows.filter(row => !at("error", row));
    const used = good.length ? good : rows;
    const weight = row => at("speech", row) || (at("end", row) ?? 0) - (at("start", row) ?? 0) || 1;
    for (const {name, kind} of data.columns) {
        const values = used.map(row => at(name, row));
        if (rows.length === 1) cells[name] = values[0];
        else if (name === "error") cells[name] = good.length ? null : values[0];
        else if (name === "speech" && data.sounds[file].speech) cells[name] = spoken(data.sounds[file].speech);
        else if (name === "confidence") cells[name] = null; // that of a mean is not the mean of theirs
        else if (name === "start") cells[name] = extremes(values)[0] ?? null;
        else if (name === "end") cells[name] = extremes(values)[1] ?? null;
        else if (kind === "number") cells[name] = mean(values, used.map(weight));
        else cells[name] = values.every(value => value === values[0]) ? values[0] : several;
    }
    if (rows.length > 1) for (const {label, outputs} of data.labels) {
        if (cells[label] !== several || !outputs.length) continue;
        const likely = outputs.map(name => cells[name] ?? -1);
        cells[label] = bare(outputs[likely.indexOf(Math.max(...likely))]);
    }
    const key = rows.length > 1 || !data.many ? data.files[file] : `${data.files[file]}#${at("start", rows[0]) ?? rows[0]}`;
    return {file, rows, cells, key, failed: Boolean(cells.error)};
}

const spoken = speech => speech.reduce((sum, [start, end]) => sum + end - start, 0);
const at = (name, row) => data.column[name]?.values[row] ?? null;
const bare = name => data.bare[name] ?? name;

function mean(values, weights) {
    let sum = 0, total = 0;
    values.forEach((value, i) => {
        if (value === null) return;
        sum += value * weights[i];
        total += weights[i];
    });
    return total ? sum / total : null;
}

/* ---- which items are shown ------------------------------------------------------------------------------------- */

const PARTS = /(?:"[^"]*"|[^\s"])+/g, TEST = /^([^:<>=]+)(>=|<=|>|<|:|=)(.+)$/;

/* Return a test of items: words in any text; column:word, column>0.5; is:failed, is:labelled; -word for not. */
function query(text) {
    const tests = (text.match(PARTS) ?? []).map(part => {
        const not = part.length > 1 && part.startsWith("-");
        const test = one(not ? part.slice(1) : part);
        return not ? item => !test(item) : test;
    });
    return item => tests.every(test => test(item));

    function one(part) {
        const found = part.startsWith('"') ? null : TEST.exec(part);
        const name = found && names().find(name => plain(name) === plain(found[1]));
        if (found && found[1] === "is") return item => item.failed === (found[3] === "failed");
        if (!name) {
            const word = unquoted(part);
            return item => words(item).includes(word);
        }
        const [, , sign, right] = found, value = Number(right.replaceAll('"', ""));
        if (sign === ":" || sign === "=") {
            const word = unquoted(right);
            return item => {
                const cell = item.cells[name];
                if (cell === null || cell === undefined) return word === "none";
                return data.column[name].kind === "number" ? cell === value : unquoted(cell) === word;
            };
        }
        const compare = {">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b}[sign];
        return item => item.cells[name] !== null && compare(item.cells[name], value);
    }
}

const unquoted = text => text.replaceAll('"', "").toLowerCase();
const plain = name => name.toLowerCase().replaceAll(" ", "");
const names = () => data.columns.map(column => column.name);
const words = item => (item.words ??= [data.files[item.file], ...texts().map(name => item.cells[name] ?? "")]
    .join("\n").toLowerCase());
const texts = () => data.columns.filter(column => column.kind === "text").map(column => column.name);
const numbers = () => data.columns.filter(column => column.kind === "number").map(column => column.name);

function refresh() {
    const test = query(state.q), inBox = boxed();
    shown = items.filter(item => test(item) && inBox(item));
    if (state.sort) {
        const number = data.column[state.sort]?.kind === "number", sign = state.down ? -1 : 1;
        const cell = item => (state.sort === "file" ? data.files[item.file] : item.cells[state.sort]) ?? null;
        shown.sort((a, b) => {
            const one = cell(a), other = cell(b);
            if (one === null || other === null) return (one === null) - (other === null) || a.index - b.index;
            return sign * (number ? one - other : collator.compare(one, other)) || a.index - b.index;
        });
    }
    by("count").textContent = shown.length === items.length ? `all ${amount(items.length)}`
        : `${amount(shown.length)} of ${amount(items.length)}`;
    by("clear").hidden = !state.q && !state.box;
    const place = scroller.scrollTop;
    drawMap();
    drawGroups();
    fillVerdicts();
    fillHead();
    scroller.scrollTop = place;
    fillTable();
    if (selected) detail(false);
    write();
}

const collator = new Intl.Collator(undefined, {numeric: true});
const amount = number => number.toLocaleString("en");

function boxed() {
    const {box} = state;
    if (!box) return () => true;
    return item => {
        const place = spot(item);
        return place !== null && place[0] >= box[0] && place[0] <= box[2] && place[1] >= box[1] && place[1] <= box[3];
    };
}

/* ---- the page around ------------------------------------------------------------------------------------------- */

function summary() {
    const failed = items.filter(item => item.failed);
    const what = state.level === "row" && data.many ? `${data.rows} in ${amount(data.files.length)} ${data.files.length === 1 ? "recording" : "recordings"}` : "recordings";
    const parts = [`${amount(items.length)} ${items.length === 1 && what === "recordings" ? "recording" : what}`];
    const seconds = data.sounds.reduce((sum, sound) => sum + (sound.seconds ?? 0), 0);
    if (seconds) parts.push(`${clock(seconds)} of audio`);
    if (data.model) parts.push(`labelled by ${data.model}`);
    if (data.agreement) parts.push(data.agreement);
    parts.push(data.made);
    by("summary").textContent = parts.join(" · ");
    by("what").textContent = state.level === "row" && data.many ? data.rows[0].toUpperCase() + data.rows.slice(1) : "Recordings";
    by("about").textContent = data.about;
    by("meanings").replaceChildren(...Object.entries(data.meanings).flatMap(([name, text]) =>
        (data.column[name] && !data.column[name].hidden ? [make("dt", "", called(name)), make("dd", "", text)] : [])));
    by("failed").replaceChildren();
    by("failed").hidden = !failed.length;
    if (!failed.length) return;
    const reasons = new Map();
    failed.forEach(item => reasons.set(item.cells.error, (reasons.get(item.cells.error) ?? 0) + 1));
    const sorted = [...reasons].sort((a, b) => b[1] - a[1]);
    const button = make("button", "bad", `${amount(failed.length)} failed`);
    button.addEventListener("click", () => search("is:failed"));
    const list = sorted.slice(0, 3).map(([reason, count]) => `${amount(count)} × ${reason}`).join("; ");
    const more = sorted.length > 3 ? `; and ${sorted.length - 3} other reasons` : "";
    by("failed").append(button, make("span", "quiet", ` ${list}${more}`));
}

function controls() {
    const modes = maps();
    fill("x", [...modes, ...numbers()]);
    fill("y", numbers());
    const groups = groupings();
    fill("colour", ["", ...groups], "one colour");
    fill("group", ["", ...groups], "all together");
    fill("value", values());
    by("level").parentElement.hidden = !data.many;
    for (const [value, text] of [["recording", "recording"], ["row", data.row]]) {
        const option = make("option", "", text);
        option.value = value;
        by("level").append(option);
    }
    by("groupbox").open = groups.length > 0;
    by("groups").hidden = data.file.length < 3 || !by("value").options.length;
    document.body.classList.toggle("single", data.files.length === 1);
    for (const name of ["x", "y", "colour", "group", "value", "level"]) {
        const box = by(name);
        if (!state[name] || ![...box.options].some(option => option.value === state[name])) {
            state[name] = data.start[name] ?? (name === "level" ? state.level : box.options[0]?.value ?? "");
        }
        box.value = state[name];
        box.addEventListener("change", () => {
            state[name] = box.value;
            if (name !== "group" && name !== "value") state.box = null;
            if (name === "level") { rebuild(); select(shown[0] ?? null, {play: false}); } else refresh();
        });
    }
    by("search").value = state.q;
    by("search").placeholder = hint();

    function fill(id, options, none = "") {
        by(id).replaceChildren(...options.map(value => {
            const option = make("option", "", value === CONFUSION ? "class by class" : value ? called(value) : none);
            option.value = value;
            return option;
        }));
    }
}

/* Return an example of a search that finds something here. */
function hint() {
    if (window.innerWidth < 560) return "Search";
    const label = data.labels[0]?.label, number = data.facts.find(name => data.column[name] && name !== "difference");
    const value = label && data.column[label].values.find(value => value && !/\s/.test(value));
    const parts = ["words"];
    if (value) parts.push(cellQuery(label, value));
    if (number) parts.push(`${number.replaceAll(" ", "")}>0.6`);
    if (data.column.error) parts.push("is:failed");
    return `Search: ${parts.join(", ")}`;
}

/* Return what a column is called on the page. */
const SECONDS = ["start", "end", "speech", "length"];
const called = name => (SECONDS.includes(name) ? `${name} (s)` : data.called[name] ?? name);

const CORNERS = "classes", CONFUSION = "confusion";
const maps = () => [...(data.confusion ? [CONFUSION] : []), ...(classes().length > 2 ? [CORNERS] : [])];
const classes = () => data.labels[0]?.outputs ?? [];
const values = () => [...data.labels.map(one => one.label), ...numbers().filter(name => !["start", "end"].includes(name))];

/* Columns with a few different texts. */
function groupings() {
    return texts().filter(name => name !== "error").filter(name => {
        const different = new Set(data.column[name].values.filter(value => value !== null));
        return different.size >= (name === "folder" ? 2 : 1) && different.size <= 60;
    });
}

function search(text) {
    state.q = text;
    by("search").value = text;
    scroller.scrollTop = 0;
    refresh();
}

/* ---- events ---------------------------------------------------------------------------------------------------- */

function listen() {
    player.addEventListener("play", () => requestAnimationFrame(follow));
    player.addEventListener("seeked", () => timeline.at(player.currentTime));
    player.addEventListener("error", () => {
        if (player.hasAttribute("src")) by("noaudio").textContent = "The browser cannot play this file, or it is not where it was.";
    });
    scroller.addEventListener("scroll", () => requestAnimationFrame(() => fillTable()));
    let waiting;
    by("search").addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(() => { state.q = by("search").value; scroller.scrollTop = 0; refresh(); }, 120);
    });
    by("clear").addEventListener("click", () => { state.box = null; search(""); });
    by("groupbox").addEventListener("toggle", drawGroups);
    by("keys").addEventListener("click", () => by("help").showModal());
    by("save").addEventListener("click", save);
    new ResizeObserver(() => drawMap()).observe(by("map").parentElement);
    window.addEventListener("hashchange", () => { read(); by("search").value = state.q; refresh(); });
    const root = document.documentElement;
    let theme = "";
    window.addEventListener("beforeprint", () => {
        theme = root.dataset.theme;
        root.dataset.theme = "light"; // paper is
        refresh();
        fillTable(true);
    });
    window.addEventListener("afterprint", () => {
        root.dataset.theme = theme;
        refresh();
    });
    document.addEventListener("keydown", keys);
    const map = by("map");
    let from = null;
    const place = event => {
        const box = map.getBoundingClientRect();
        return [event.clientX - box.left, event.clientY - box.top];
    };
    const unplace = ([x, y]) => [scale.low[0] + (x - scale.edge.left) / scale.inner[0] * (scale.high[0] - scale.low[0]),
        scale.low[1] + (1 - (y - scale.edge.top) / scale.inner[1]) * (scale.high[1] - scale.low[1])];
    map.addEventListener("pointerdown", event => { from = event.pointerType === "touch" ? null : place(event); });
    map.addEventListener("pointermove", event => {
        const to = place(event), near = nearest(to);
        by("tip").textContent = near ? data.files[near.file] : "";
        map.style.cursor = near ? "pointer" : "crosshair";
        if (!from || !event.buttons || Math.hypot(to[0] - from[0], to[1] - from[1]) < 8) return;
        const [a, b] = [unplace(from), unplace(to)];
        state.box = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
        drawMap();
    });
    map.addEventListener("pointerup", event => {
        const to = place(event), dragged = from && Math.hypot(to[0] - from[0], to[1] - from[1]) >= 8;
        from = null;
        if (dragged) { scroller.scrollTop = 0; refresh(); return; }
        const near = nearest(to);
        if (near) {
            select(near, {play: true});
            if (window.innerWidth <= 860) by("detail").scrollIntoView({block: "nearest"}); // below the map there
        }
        else if (state.box) { state.box = null; refresh(); }
    });
}

function nearest([x, y]) {
    let best = null, least = 14;
    for (const [item, place] of scale?.placed ?? []) {
        const far = Math.hypot(scale.x(place[0]) - x, scale.y(place[1]) - y);
        if (far < least) [best, least] = [item, far];
    }
    return best;
}

function keys(event) {
    const {key, target} = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "Escape") {
        if (by("help").open) return;
        target.blur?.();
        state.box = null;
        return search("");
    }
    if (["INPUT", "SELECT", "AUDIO"].includes(target.tagName)) return;
    const step = {ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10}[key];
    if (step && shown.length) {
        const place = shown.indexOf(selected);
        select(shown[Math.min(Math.max(place + step, 0), shown.length - 1)]);
    } else if (key === " " && target.tagName !== "BUTTON" && target.tagName !== "SUMMARY") {
        if (player.paused) hear(selected); else player.pause();
    } else if (key === "Enter" && target.tagName !== "BUTTON" && selected) hear(selected);
    else if (key === "ArrowLeft" || key === "ArrowRight") {
        player.currentTime = Math.max(0, player.currentTime + (key === "ArrowLeft" ? -2 : 2));
    } else if (key === "/") by("search").focus();
    else if (key === "?") by("help").showModal();
    else return;
    event.preventDefault();
}

/* ---- the address ----------------------------------------------------------------------------------------------- */

const KEPT = ["q", "sort", "x", "y", "colour", "group", "value", "level"];

function write() {
    const link = new URLSearchParams();
    if (selected) link.set("r", selected.key);
    for (const name of KEPT) if (state[name] && state[name] !== (data.start[name] ?? "")) link.set(name, state[name]);
    if (state.down !== Boolean(data.start.down)) link.set("down", state.down ? "1" : "0");
    try { history.replaceState(null, "", `#${link}`); } catch { /* some browsers forbid it for files */ }
}

function read() {
    const link = new URLSearchParams(location.hash.slice(1));
    state.sort = data.start.sort ?? "";
    state.down = Boolean(data.start.down);
    for (const name of KEPT) if (link.has(name)) state[name] = link.get(name);
    if (link.has("down")) state.down = link.get("down") === "1";
    if (!names().includes(state.sort) && state.sort !== "file") state.sort = "";
    state.wanted = link.get("r");
}
