/* The report's map: points between two columns or between classes, or a table of what is taken for what. */
"use strict";

const EDGE = {left: 44, right: 14, top: 16, bottom: 40}, CORNER_EDGE = {left: 20, right: 20, top: 24, bottom: 24};
/* Outputs of which 0.5 is neutral. */
const NEUTRAL = new Set(["arousal", "dominance", "valence"]);
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

/* Return {name -> [index of its colour, index of its shape, how many]} of the groups that colour the points. */
function looks() {
    const name = state.colour;
    if (!name) return null;
    const counts = new Map();
    items.forEach(item => {
        const value = item.cells[name];
        if (value !== null && value !== undefined && !item.failed) counts.set(value, (counts.get(value) ?? 0) + 1);
    });
    const known = data.colours, order = Object.keys(known), sorted = [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
    const free = [0, 1, 2, 3, 4, 5, 7].filter(i => !sorted.some(value => known[value] === i));
    let next = 0;
    return new Map(sorted.slice(0, 8).map((value, i) =>
        [value, [known[value] ?? free[next++ % free.length] ?? 6, (value in known ? order.indexOf(value) : i) % 4, counts.get(value)]]));
}

function drawMap() {
    const confusion = state.x === CONFUSION;
    by("confusion").hidden = !confusion;
    by("plot").hidden = confusion;
    by("y").parentElement.hidden = confusion || state.x === CORNERS;
    by("colour").parentElement.hidden = confusion;
    by("maplegend").replaceChildren();
    by("x").previousSibling.textContent = confusion || state.x === CORNERS ? "map of " : "horizontal ";
    const axes = [state.x, state.y].filter(name => data.meanings[name]).map(name => `${name}: ${data.meanings[name]}. `).join("");
    by("maphelp").textContent = confusion
        ? "Click a number to see and hear these recordings."
        : `${state.x === CORNERS ? "The nearer to a corner, the likelier is that class; in the middle, the model is unsure. " : axes}${
            NEUTRAL.has(bare(state.x)) ? "0.5 is neutral. " : ""}A point is a ${state.level === "row" ? data.row : "recording"}: `
            + "click it to hear it; drag over several to list them.";
    if (confusion) return drawConfusion();
    const canvas = by("map"), wide = canvas.parentElement.clientWidth, tall = Math.min(Math.max(wide * 0.82, 300), 470);
    const edge = state.x === CORNERS ? CORNER_EDGE : EDGE;
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
    const inner = [wide - edge.left - edge.right, tall - edge.top - edge.bottom];
    const x = value => edge.left + (value - low[0]) / (high[0] - low[0]) * inner[0];
    const y = value => edge.top + (1 - (value - low[1]) / (high[1] - low[1])) * inner[1];
    scale = {x, y, low, high, wide, tall, inner, placed, edge};
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
    drawWords();
    const chosen = selected && spot(selected);
    if (chosen) {
        pen.lineWidth = 2.5;
        pen.strokeStyle = colour("--text");
        pen.beginPath();
        pen.arc(x(chosen[0]), y(chosen[1]), size + 5, 0, 7);
        [state.x, state.y].forEach((name, axis) => { // its interval
            const [least, most] = ["low", "high"].map(end => selected.cells[`${name}.${end}`]);
            if (state.x === CORNERS || least == null) return;
            const ends = [least, most].map(value => Math.min(Math.max(value, low[axis]), high[axis]));
            if (axis) { pen.moveTo(x(chosen[0]), y(ends[0])); pen.lineTo(x(chosen[0]), y(ends[1])); }
            else { pen.moveTo(x(ends[0]), y(chosen[1])); pen.lineTo(x(ends[1]), y(chosen[1])); }
        });
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
        for (const [value, [index, shape, count]] of look)
            by("maplegend").append(mapMark(value, paint(index), shape, count, () => search(cellQuery(state.colour, value))));
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
                pen.fillStyle = colour("--grid");
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
        [state.x, state.y].forEach((name, axis) => { // a cross where both are neutral
            if (!NEUTRAL.has(bare(name))) return;
            pen.fillStyle = colour("--muted");
            if (axis) pen.fillRect(EDGE.left, y(0.5) - 0.75, inner[0], 1.5);
            else pen.fillRect(x(0.5) - 0.75, EDGE.top, 1.5, inner[1]);
            pen.textAlign = axis ? "right" : "left";
            pen.fillText("neutral", axis ? wide - EDGE.right - 4 : x(0.5) + 5, axis ? y(0.5) - 5 : EDGE.top + inner[1] - 6);
        });
        pen.fillStyle = colour("--text");
        pen.textAlign = "center";
        pen.fillText(`${state.x} →`, EDGE.left + inner[0] / 2, tall - 6);
        pen.save();
        pen.translate(12, EDGE.top + inner[1] / 2);
        pen.rotate(-Math.PI / 2);
        pen.fillText(`${state.y} →`, 0, 0);
        pen.restore();
        pen.textAlign = "left";
    }
    function drawWords() { // above the points, which stay visible around them
        if (state.x !== "valence" || state.y !== "arousal") return;
        pen.lineWidth = 4;
        pen.lineJoin = "round";
        pen.strokeStyle = colour("--card");
        pen.fillStyle = colour("--text");
        for (const [text, right, top] of [["tense, angry", 0, 1], ["excited, happy", 1, 1], ["sad, tired", 0, 0],
            ["calm, content", 1, 0]]) {
            pen.textAlign = right ? "right" : "left";
            const place = [right ? wide - EDGE.right - 6 : EDGE.left + 6, top ? EDGE.top + 14 : tall - EDGE.bottom - 7];
            pen.strokeText(text, ...place);
            pen.fillText(text, ...place);
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

function mapMark(text, colour, shape, count = 0, clicked = null) {
    const item = make("li"), mark = make(clicked ? "button" : "span"), picture = document.createElement("canvas"), ratio = window.devicePixelRatio || 1;
    picture.width = picture.height = 14 * ratio;
    picture.style.width = picture.style.height = "14px";
    const pen = picture.getContext("2d");
    pen.scale(ratio, ratio);
    pen.translate(7, 7);
    pen.fillStyle = colour;
    outline(pen, shape, 4.5);
    pen.fill();
    mark.append(picture, ` ${text}`, ...(count ? [make("span", "quiet", ` ${amount(count)}`)] : []));
    if (clicked) {
        mark.title = `Show only ${text}`;
        mark.addEventListener("click", clicked);
    }
    item.append(mark);
    return item;
}

function drawConfusion() {
    const {rows, columns, across, down, unknown} = data.confusion, counts = new Map();
    const test = query(state.q);
    let whole = 1;
    for (const item of items.filter(test)) {
        const key = JSON.stringify([item.cells[down], item.cells[across]]);
        counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const table = make("table"), head = make("tr");
    table.append(make("caption", "quiet", `rows: ${called(down)}; columns: ${called(across)}`));
    head.append(make("td"), ...columns.map(name => make("th", "", name)));
    table.append(head);
    for (const row of rows) {
        const line = make("tr", unknown.includes(row) ? "unknown" : ""), own = columns.map(column => counts.get(JSON.stringify([row, column])) ?? 0);
        whole = Math.max(own.reduce((a, b) => a + b, 0), 1);
        line.append(make("th", "", unknown.includes(row) ? `${row} *` : row));
        own.forEach((count, k) => {
            const cell = make("td"), button = make("button", "", count ? amount(count) : "–");
            const share = count / whole;
            const tone = unknown.includes(row) ? "--muted" : row === columns[k] ? "--c0" : "--c3";
            const [least, most] = unknown.includes(row) ? [8, 35] : [25, 80]; // what is wrong must be seen
            button.style.background = count ? `color-mix(in srgb, var(${tone}) ${Math.round(least + share * (most - least))}%, var(--card))` : "";
            button.title = `${down} ${row}, ${across} ${columns[k]}: ${count}, ${Math.round(share * 100)} % of the row`;
            button.disabled = !count;
            button.addEventListener("click", () => search(`${cellQuery(down, row)} ${cellQuery(across, columns[k])}`));
            cell.append(button);
            line.append(cell);
        });
        table.append(line);
    }
    by("confusion").replaceChildren(table);
    const [good, bad] = data.truth ? ["right", "wrong"] : ["the same", "different"];
    const marks = [[good, "var(--c0)"], [bad, "var(--c3)"]];
    if (unknown.length) marks.push(["* the model does not know this class", "var(--muted)"]);
    by("maplegend").replaceChildren(...marks.map(([text, colour]) => {
        const item = make("li"), mark = make("i", "swatch");
        mark.style.background = `color-mix(in srgb, ${colour} 75%, var(--card))`;
        item.append(mark, text);
        return item;
    }), make("li", "quiet", "the stronger, the more of its row"));
}

/* Return what to search for to find a cell. */
const cellQuery = (name, value) => {
    const text = value.replaceAll('"', "");
    return `${name.replaceAll(" ", "")}:${/\s/.test(text) ? `"${text}"` : text}`;
};
