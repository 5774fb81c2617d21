/* The report: a map, a table and a timeline of the same recordings. Everything in it is written as text, never as
 * markup. The data is described in sertool/report/__init__.py. */
"use strict";

const ROW = 31; // pixels of a row of the table
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
const bare = name => {
    const prefix = (data.compared ?? []).find(prefix => name.startsWith(`${prefix} `));
    return prefix ? name.slice(prefix.length + 1) : name;
};

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
    by("about").textContent = data.about;
    by("failed").replaceChildren();
    by("failed").hidden = !failed.length;
    if (!failed.length) return;
    const reasons = new Map();
    failed.forEach(item => reasons.set(item.cells.error, (reasons.get(item.cells.error) ?? 0) + 1));
    const sorted = [...reasons].sort((a, b) => b[1] - a[1]);
    const button = make("button", "bad", `${amount(failed.length)} without labels`);
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

    function fill(id, options, none = "") {
        by(id).replaceChildren(...options.map(value => {
            const option = make("option", "", value || none);
            option.value = value;
            return option;
        }));
    }
}

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

/* ---- the map --------------------------------------------------------------------------------------------------- */

const EDGE = {left: 44, right: 14, top: 16, bottom: 40};
let scale = null;

/* Return the place of an item on the map in data units, or null. */
function spot(item) {
    if (item.failed) return null;
    if (state.x === CONFUSION) return null;
    if (state.x === CORNERS) {
        const shares = classes().map(name => Math.max(item.cells[name] ?? 0, 0));
        const sum = shares.reduce((a, b) => a + b, 0);
        if (!sum) return null;
        const places = corners(shares.length);
        return [0, 1].map(axis => shares.reduce((total, share, k) => total + (share / sum) * places[k][axis], 0));
    }
    const place = [item.cells[state.x] ?? null, item.cells[state.y] ?? null];
    return place.includes(null) ? null : place;
}

function corners(count) {
    return Array.from({length: count}, (_, k) => {
        const angle = Math.PI * (2 * k / count - 0.5 + (count === 4 ? 0.25 : 0));
        return [Math.cos(angle), -Math.sin(angle)];
    });
}

/* Return {name -> [index of its colour, index of its shape]} of the groups that colour the points. */
function looks() {
    const name = state.colour;
    if (!name) return null;
    const counts = new Map();
    items.forEach(item => {
        const value = item.cells[name];
        if (value !== null && value !== undefined && !item.failed) counts.set(value, (counts.get(value) ?? 0) + 1);
    });
    const known = data.colours, sorted = [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
    const free = [0, 1, 2, 3, 4, 5, 7].filter(i => !sorted.some(value => known[value] === i));
    let next = 0;
    return new Map(sorted.slice(0, 8).map((value, i) =>
        [value, [known[value] ?? free[next++ % free.length] ?? 6, i % 4]]));
}

function drawMap() {
    const confusion = state.x === CONFUSION;
    by("confusion").hidden = !confusion;
    by("plot").hidden = confusion;
    by("y").parentElement.hidden = confusion || state.x === CORNERS;
    by("colour").parentElement.hidden = confusion;
    by("maplegend").replaceChildren();
    by("maphelp").textContent = confusion
        ? "Click a number to see and hear these recordings."
        : `A point is a ${state.level === "row" ? data.row : "recording"}. ${state.x === CORNERS
            ? "The nearer to a corner, the likelier is that class. " : ""}Click it to hear it; drag over several to list them.`;
    if (confusion) return drawConfusion();
    const canvas = by("map"), wide = canvas.parentElement.clientWidth, tall = Math.min(Math.max(wide * 0.82, 300), 470);
    const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(tall * ratio);
    canvas.style.height = `${tall}px`;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
    const font = getComputedStyle(document.body).fontFamily;
    const inBox = boxed(), test = query(state.q);
    const placed = items.map(item => [item, spot(item)]).filter(([, place]) => place);
    let low, high;
    if (state.x === CORNERS) {
        const ends = [0, 1].map(axis => extremes(corners(classes().length).map(place => place[axis])));
        [low, high] = [0, 1].map(end => ends.map(pair => pair[end] + (end ? 0.08 : -0.08)));
    }
    else {
        const ends = [0, 1].map(axis => extremes(placed.map(([, place]) => place[axis])));
        const unit = [state.x, state.y].map(name => data.unit.includes(name));
        low = ends.map(([least = 0], axis) => (unit[axis] ? Math.min(0, least) - 0.02 : least - pad(ends[axis])));
        high = ends.map(([, most = 1], axis) => (unit[axis] ? Math.max(1, most) + 0.02 : most + pad(ends[axis])));
    }
    const inner = [wide - EDGE.left - EDGE.right, tall - EDGE.top - EDGE.bottom];
    const x = value => EDGE.left + (value - low[0]) / (high[0] - low[0]) * inner[0];
    const y = value => EDGE.top + (1 - (value - low[1]) / (high[1] - low[1])) * inner[1];
    scale = {x, y, low, high, wide, tall, inner, placed};
    pen.font = `12px ${font}`;
    if (state.x === CORNERS) drawCorners(pen, x, y, colour); else drawAxes(pen, colour, font);

    const look = looks(), size = Math.min(Math.max(90 / Math.sqrt(placed.length), 2.2), 6);
    const sprites = new Map();
    const faint = [];
    const strong = [];
    for (const pair of placed) (test(pair[0]) && inBox(pair[0]) ? strong : faint).push(pair);
    pen.globalAlpha = 0.12;
    for (const [item, place] of faint) draw(item, place);
    pen.globalAlpha = placed.length > 3000 ? 0.55 : 0.75;
    for (const [item, place] of strong) draw(item, place);
    pen.globalAlpha = 1;
    const chosen = selected && spot(selected);
    if (chosen) {
        pen.lineWidth = 2.5;
        pen.strokeStyle = colour("--text");
        pen.beginPath();
        pen.arc(x(chosen[0]), y(chosen[1]), size + 5, 0, 7);
        pen.stroke();
    }
    if (state.box) {
        const [left, bottom, right, top] = state.box;
        pen.strokeStyle = colour("--accent");
        pen.lineWidth = 1.5;
        pen.strokeRect(x(left), y(top), x(right) - x(left), y(bottom) - y(top));
    }
    canvas.setAttribute("aria-label", `Map of ${amount(placed.length)} recordings, ${state.x === CORNERS
        ? `between the classes ${classes().join(", ")}` : `${state.x} by ${state.y}`}. The table below lists them all.`);
    if (look) {
        for (const [value, [index, shape]] of look) by("maplegend").append(mapMark(value, paint(index), shape));
        if (items.some(item => !item.failed && !look.has(item.cells[state.colour])))
            by("maplegend").append(mapMark("others", colour("--muted"), 0));
    }

    function draw(item, place) {
        const [index, shape] = look?.get(item.cells[state.colour]) ?? (look ? [-1, 0] : [0, 0]);
        const name = `${index} ${shape}`;
        if (!sprites.has(name)) sprites.set(name, sprite(index < 0 ? colour("--muted") : paint(index), shape, size, ratio));
        const picture = sprites.get(name), half = picture.width / ratio / 2;
        pen.drawImage(picture, x(place[0]) - half, y(place[1]) - half, 2 * half, 2 * half);
    }
    function drawAxes(pen, colour) {
        for (const axis of [0, 1]) {
            for (const value of ticks(low[axis], high[axis])) {
                pen.fillStyle = colour(value === 0.5 && data.unit.includes(axis ? state.y : state.x) ? "--line" : "--grid");
                if (axis) pen.fillRect(EDGE.left, y(value) - 0.5, inner[0], 1);
                else pen.fillRect(x(value) - 0.5, EDGE.top, 1, inner[1]);
                pen.fillStyle = colour("--muted");
                pen.textAlign = axis ? "right" : "center";
                const text = String(Number(value.toPrecision(6)));
                pen.fillText(text, axis ? EDGE.left - 7 : x(value), axis ? y(value) + 4 : tall - EDGE.bottom + 17);
            }
        }
        if (data.compared && state.x !== state.y && bare(state.x) === bare(state.y)) {
            pen.strokeStyle = colour("--muted");
            pen.setLineDash([4, 4]);
            pen.beginPath();
            const [least, most] = [Math.max(low[0], low[1]), Math.min(high[0], high[1])];
            pen.moveTo(x(least), y(least));
            pen.lineTo(x(most), y(most));
            pen.stroke();
            pen.setLineDash([]);
        }
        pen.fillStyle = colour("--text");
        pen.textAlign = "center";
        pen.fillText(`${state.x} →`, EDGE.left + inner[0] / 2, tall - 6);
        pen.save();
        pen.translate(12, EDGE.top + inner[1] / 2);
        pen.rotate(-Math.PI / 2);
        pen.fillText(`${state.y} →`, 0, 0);
        pen.restore();
        if (state.x === "valence" && state.y === "arousal") {
            pen.fillStyle = colour("--muted");
            for (const [text, right, top] of [["tense, angry", 0, 1], ["excited, happy", 1, 1], ["sad, tired", 0, 0],
                ["calm, content", 1, 0]]) {
                pen.textAlign = right ? "right" : "left";
                pen.fillText(text, right ? wide - EDGE.right - 6 : EDGE.left + 6,
                    top ? EDGE.top + 14 : tall - EDGE.bottom - 7);
            }
        }
        pen.textAlign = "left";
    }
    function drawCorners(pen, x, y, colour) {
        const places = corners(classes().length);
        pen.strokeStyle = colour("--line");
        pen.beginPath();
        places.forEach(([left, up], k) => (k ? pen.lineTo(x(left), y(up)) : pen.moveTo(x(left), y(up))));
        pen.closePath();
        pen.stroke();
        pen.fillStyle = colour("--text");
        places.forEach(([left, up], k) => {
            pen.textAlign = left > 0.1 ? "right" : left < -0.1 ? "left" : "center";
            const side = left > 0.1 ? Math.min(x(left) + 30, wide - 4) : left < -0.1 ? Math.max(x(left) - 30, 4) : x(left);
            pen.fillText(bare(classes()[k]), side, y(up) + (up > 0 ? -9 : 18));
        });
        pen.textAlign = "left";
    }
}

const pad = ([least = 0, most = 1]) => (most - least || 1) * 0.05;

function ticks(low, high) {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map(one => one * power).find(one => one >= rough);
    const result = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) result.push(i * step);
    return result;
}

function sprite(colour, shape, size, ratio) {
    const picture = document.createElement("canvas"), half = (size + 1.5) * ratio, pen = picture.getContext("2d");
    picture.width = picture.height = Math.ceil(2 * half);
    pen.translate(half, half);
    pen.fillStyle = colour;
    outline(pen, shape, size * ratio);
    pen.fill();
    return picture;
}

function outline(pen, shape, size) {
    pen.beginPath();
    if (shape === 0) pen.arc(0, 0, size, 0, 7);
    else if (shape === 1) pen.rect(-size * 0.9, -size * 0.9, size * 1.8, size * 1.8);
    else {
        const points = shape === 2 ? [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]] : [[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]];
        points.forEach(([x, y], i) => (i ? pen.lineTo(x * size, y * size) : pen.moveTo(x * size, y * size)));
        pen.closePath();
    }
}

function mapMark(text, colour, shape) {
    const item = make("li"), picture = document.createElement("canvas"), ratio = window.devicePixelRatio || 1;
    picture.width = picture.height = 14 * ratio;
    picture.style.width = picture.style.height = "14px";
    const pen = picture.getContext("2d");
    pen.scale(ratio, ratio);
    pen.translate(7, 7);
    pen.fillStyle = colour;
    outline(pen, shape, 4.5);
    pen.fill();
    item.append(picture, ` ${text}`);
    return item;
}

function drawConfusion() {
    const {rows, columns, across, down} = data.confusion, counts = new Map();
    const test = query(state.q);
    let most = 1;
    for (const item of items.filter(test)) {
        const key = JSON.stringify([item.cells[down], item.cells[across]]);
        counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const table = make("table"), head = make("tr");
    table.append(make("caption", "quiet", `${down} in rows, ${across} in columns`));
    head.append(make("td"), ...columns.map(name => make("th", "", name)));
    table.append(head);
    for (const row of rows) {
        const line = make("tr"), own = columns.map(column => counts.get(JSON.stringify([row, column])) ?? 0);
        most = Math.max(own.reduce((a, b) => a + b, 0), 1);
        line.append(make("th", "", row));
        own.forEach((count, k) => {
            const cell = make("td"), button = make("button", "", count ? amount(count) : "–");
            const share = count / most;
            button.style.background = `color-mix(in srgb, var(${row === columns[k] ? "--c0" : "--c3"}) ${Math.round(share * 75)}%, var(--card))`;
            button.title = `${down} ${row}, ${across} ${columns[k]}: ${count}, ${Math.round(share * 100)} % of the row`;
            button.disabled = !count;
            button.addEventListener("click", () => search(`${cellQuery(down, row)} ${cellQuery(across, columns[k])}`));
            cell.append(button);
            line.append(cell);
        });
        table.append(line);
    }
    by("confusion").replaceChildren(table);
}

/* Return what to search for to find a cell. */
const cellQuery = (name, value) => {
    const text = value.replaceAll('"', "");
    return `${name.replaceAll(" ", "")}:${/\s/.test(text) ? `"${text}"` : text}`;
};

/* ---- groups ---------------------------------------------------------------------------------------------------- */

function drawGroups() {
    const target = by("bars");
    if (by("groups").hidden || !by("groupbox").open) return;
    const group = state.group, value = state.value, numeric = data.column[value]?.kind === "number";
    const test = query(state.q), inBox = boxed(), groups = new Map();
    for (const item of items) {
        if (item.failed || !test(item) || !inBox(item) || item.cells[value] === null) continue;
        const name = group ? item.cells[group] ?? "(none)" : "all";
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(item.cells[value]);
    }
    const sorted = [...groups].sort((a, b) => b[1].length - a[1].length);
    const all = sorted.flatMap(([, cells]) => cells);
    let [least = 0, most = 1] = numeric ? extremes(all) : [];
    if (data.unit.includes(value)) [least, most] = [Math.min(0, least), Math.max(1, most)];
    const number = state.groups ? sorted.length : 10;
    target.replaceChildren(...sorted.slice(0, number).map(([name, cells]) => {
        const figure = make("figure"), caption = make("figcaption"), button = make("button", "", name);
        button.title = `Show only ${group} ${name}`;
        button.disabled = !group;
        button.addEventListener("click", () => search(cellQuery(group, name === "(none)" ? "none" : name)));
        caption.append(button);
        figure.append(caption, numeric ? histogram(cells, least, most, caption) : shares(cells, caption));
        return figure;
    }));
    if (sorted.length > number) {
        const button = make("button", "", `${sorted.length - number} smaller groups`);
        button.addEventListener("click", () => { state.groups = true; drawGroups(); });
        target.append(button);
    }
}

function histogram(cells, least, most, caption) {
    const bins = new Array(20).fill(0), width = (most - least || 1) / 20;
    cells.forEach(value => { bins[Math.min(Math.floor((value - least) / width), 19)] += 1; });
    const middle = [...cells].sort((a, b) => a - b)[Math.floor(cells.length / 2)];
    caption.append(make("span", "quiet", ` ${amount(cells.length)}, median ${middle.toFixed(2)}`));
    const picture = make("div", "histogram"), top = Math.max(...bins);
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `Histogram: ${bins.join(", ")} from ${least.toFixed(2)} to ${most.toFixed(2)}`);
    bins.forEach((count, i) => {
        const bar = make("i");
        bar.style.height = `${count ? Math.max(count / top * 100, 2) : 0}%`;
        bar.title = `${(least + i * width).toFixed(2)} to ${(least + (i + 1) * width).toFixed(2)}: ${count}`;
        picture.append(bar);
    });
    const ends = make("div", "ends quiet");
    ends.append(make("span", "", String(Number(least.toPrecision(2)))), make("span", "", String(Number(most.toPrecision(2)))));
    const box = make("div");
    box.append(picture, ends);
    return box;
}

function shares(cells, caption) {
    const counts = new Map(), box = make("div", "shares");
    cells.forEach(cell => counts.set(cell, (counts.get(cell) ?? 0) + 1));
    caption.append(make("span", "quiet", ` ${amount(cells.length)}`));
    const order = Object.keys(data.colours);
    const sorted = [...counts].sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
    const bar = make("div", "stack"), text = make("p", "quiet");
    sorted.forEach(([name, count]) => {
        const part = make("i");
        part.style.width = `${count / cells.length * 100}%`;
        part.style.background = `var(--c${data.colours[name] ?? 6})`;
        part.title = `${name}: ${count}`;
        bar.append(part);
    });
    text.textContent = sorted.map(([name, count]) => `${name} ${Math.round(count / cells.length * 100)} %`).join(" · ");
    box.append(bar, text);
    return box;
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

const scroller = by("rows");
const visible = () => data.columns.filter(column => !column.hidden && (state.level === "row" || !column.ofRows));

function fillHead() {
    const cell = (name, number) => {
        const head = make("th", number ? "number" : ""), button = make("button", "", name);
        head.setAttribute("aria-sort", state.sort !== name ? "none" : state.down ? "descending" : "ascending");
        head.scope = "col";
        if (state.sort === name) button.append(state.down ? " ▼" : " ▲");
        button.addEventListener("click", () => {
            [state.down, state.sort] = state.sort === name ? [!state.down, name] : [Boolean(number), name];
            scroller.scrollTop = 0;
            refresh();
        });
        head.append(button);
        return head;
    };
    by("head").replaceChildren(cell("file"), ...visible().map(column => cell(column.name, column.kind === "number")));
    by("table").setAttribute("aria-rowcount", String(shown.length + 1));
    by("table").setAttribute("aria-colcount", String(visible().length + 1));
}

/* Only the rows in sight are in the document; two empty rows keep the others' room. */
function fillTable(everything = false) {
    const height = scroller.clientHeight || 400;
    const first = everything ? 0 : Math.max(0, Math.floor(scroller.scrollTop / ROW) - 12);
    const last = everything ? Math.min(shown.length, 3000) : Math.min(shown.length, first + Math.ceil(height / ROW) + 30);
    const columns = visible();
    const lines = [];
    for (let i = first; i < last; i++) lines.push(line(shown[i], i, columns));
    by("body").replaceChildren(room(first), ...lines, room(everything ? 0 : shown.length - last));
    if (!shown.length) {
        const empty = make("tr"), cell = make("td", "quiet", "Nothing matches the search.");
        cell.colSpan = columns.length + 1;
        empty.append(cell);
        by("body").append(empty);
    }

    function room(rows) {
        const row = make("tr", "room");
        row.style.height = `${rows * ROW}px`;
        row.setAttribute("aria-hidden", "true");
        return row;
    }
}

function line(item, place, columns) {
    const row = make("tr", item === selected ? "selected" : "");
    row.setAttribute("aria-rowindex", String(place + 2));
    row.setAttribute("aria-selected", String(item === selected));
    const head = make("th"), button = make("button", "name", data.files[item.file]);
    head.scope = "row";
    button.title = data.files[item.file];
    head.append(button);
    row.append(head);
    for (const {name, kind} of columns) {
        const value = item.cells[name], cell = make("td", kind === "number" ? "number" : "");
        if (value !== null && value !== undefined) {
            if (data.labels.some(one => one.label === name)) cell.append(chip(value, data.colours[value]));
            else cell.textContent = kind === "number" ? figure(value, name) : value;
            if (name === "error") cell.classList.add("bad");
            if (kind !== "number") cell.title = value;
        }
        row.append(cell);
    }
    row.addEventListener("click", () => select(item));
    return row;
}

const figure = (value, name) => (Number.isInteger(value) && !data.unit.includes(name) ? String(value)
    : value.toFixed(["start", "end", "speech", "length"].includes(name) ? 1 : 2));

/* ---- one recording --------------------------------------------------------------------------------------------- */

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
    by("name").textContent = data.files[item.file]
        + (part ? `, ${clock(item.cells.start, 1)} to ${clock(item.cells.end ?? item.cells.start, 1)}` : "");
    const facts = by("facts");
    facts.replaceChildren();
    if (item.failed) facts.append(make("span", "bad", item.cells.error));
    else for (const {label, outputs} of data.labels) {
        if (!item.cells[label]) continue;
        if (data.labels.length > 1) facts.append(make("span", "quiet", `${label} `));
        facts.append(chip(item.cells[label], data.colours[item.cells[label]]), " ");
    }
    if (!item.failed) for (const name of data.facts) {
        if (item.cells[name] === null || item.cells[name] === undefined) continue;
        const fact = make("span", "fact");
        const low = item.cells[`${name}.low`], high = item.cells[`${name}.high`];
        const interval = low === null || low === undefined ? "" : ` (${low.toFixed(2)} to ${high.toFixed(2)})`;
        fact.append(make("span", "quiet", `${name} `), make("b", "", item.cells[name].toFixed(2)), make("span", "quiet", interval));
        facts.append(fact, " ");
    }
    if (!item.failed && item.cells.typical < 0.5 && item.cells.typical !== null)
        facts.append(make("span", "bad", "unlike the speech that the model knows"));
    const rows = data.rowsOf[item.file].filter(row => item.rows.length > 1 || sameVoice(row, item.rows[0])).map(row => ({
        start: at("start", row) ?? 0, end: at("end", row) ?? sound.seconds ?? 0,
        values: data.lines.map(line => at(line.name, row)),
        low: data.lines.map(line => at(`${line.name}.low`, row)), high: data.lines.map(line => at(`${line.name}.high`, row)),
        label: data.labels.length ? at(data.labels[0].label, row) : null, text: at("text", row), error: at("error", row),
    })).sort((a, b) => a.start - b.start);
    const playing = load ? 0 : player.currentTime;
    timeline.show({
        seconds: sound.seconds || extremes(rows.map(row => row.end))[1] || 1, speech: sound.speech,
        peaks: sound.peaks ? unpeak(sound.peaks) : null, reason: sound.reason, rows,
        outputs: data.lines.map(line => ({name: line.name, colour: paint(line.colour), dash: line.dash})),
        classes: Object.fromEntries(Object.entries(data.colours).map(([name, index]) => [name, paint(index)])),
    });
    timeline.at(playing || (item.rows.length === 1 ? at("start", item.rows[0]) ?? 0 : 0));
    if (!load) return;
    player.pause();
    const source = by(`a${item.file}`)
        ? `data:audio/ogg;base64,${by(`a${item.file}`).textContent.trim()}` : sound.seconds ? sound.src : null;
    by("noaudio").textContent = source || item.failed ? "" : sound.reason ?? "";
    player.hidden = !source;
    if (source) player.src = source; else player.removeAttribute("src");
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
    const unplace = ([x, y]) => [scale.low[0] + (x - EDGE.left) / scale.inner[0] * (scale.high[0] - scale.low[0]),
        scale.low[1] + (1 - (y - EDGE.top) / scale.inner[1]) * (scale.high[1] - scale.low[1])];
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
        if (near) select(near, {play: true});
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
