/* The report's table, of which only the rows in sight are in the document. */
"use strict";

const ROW = 31; // pixels of a row
const scroller = by("rows");
const visible = () => data.columns.filter(column => !column.hidden && (state.level === "row"
    || !(column.ofRows || (data.many && column.name === "confidence")))); // means have none

function fillHead() {
    const cell = (name, number) => {
        const head = make("th", number ? "number" : ""), button = make("button", "", called(name));
        button.title = data.meanings[name] ? `${data.meanings[name]}. Click to sort` : "Click to sort";
        head.setAttribute("aria-sort", state.sort !== name ? "none" : state.down ? "descending" : "ascending");
        head.scope = "col";
        button.append(make("span", state.sort === name ? "" : "unsorted", state.sort !== name ? " ↕" : state.down ? " ▼" : " ▲"));
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
    by("wider").hidden = by("table").offsetWidth <= scroller.clientWidth + 2;
    scroller.classList.toggle("cut", !by("wider").hidden);
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
    const head = make("th"), button = make("button", item.failed ? "name bad" : "name", short(data.files[item.file]));
    head.scope = "row";
    button.title = data.files[item.file];
    head.append(button);
    row.append(head);
    for (const {name, kind} of columns) {
        const value = item.cells[name], cell = make("td", kind === "number" ? "number" : "");
        if (value !== null && value !== undefined) {
            if (data.labels.some(one => one.label === name)) cell.append(chip(value, data.colours[value]));
            else cell.textContent = kind === "number" ? figure(value, name) : value;
            if (name === "error" || (name === "verdict" && value === "wrong")) cell.classList.add("bad");
            if (kind !== "number") cell.title = value;
        }
        row.append(cell);
    }
    row.addEventListener("click", () => select(item));
    return row;
}

/* On a phone, the end of a long name: beginnings are alike. */
const short = name => (window.innerWidth < 560 && name.length > 17 ? `…${name.slice(-16)}` : name);

const figure = (value, name) => (SECONDS.includes(name) ? value.toFixed(1)
    : Number.isInteger(value) && !data.unit.includes(name) ? String(value) : value.toFixed(2));

/* Buttons for what two tables say of the same recordings: right or wrong, the same or different. */
function fillVerdicts() {
    const column = data.column.verdict;
    if (!column) return;
    const kinds = ["wrong", "different", "right", "same", "not compared"].filter(kind => column.values.includes(kind));
    if (!by("verdicts").children.length) by("verdicts").append(...kinds.map(kind => {
        const button = make("button"), wanted = cellQuery("verdict", kind);
        button.addEventListener("click", () => search(state.q === wanted ? "" : wanted));
        return button;
    }));
    kinds.forEach((kind, k) => {
        const button = by("verdicts").children[k];
        button.textContent = `${kind} ${amount(items.filter(item => item.cells.verdict === kind).length)}`;
        button.setAttribute("aria-pressed", String(state.q === cellQuery("verdict", kind)));
    });
}

/* Save the rows that the search and the map leave, with all columns. */
function save() {
    const columns = data.columns.filter(column => state.level === "row" || !column.ofRows);
    saveTable(`${data.title}.csv`, [["file", ...columns.map(column => column.name)],
        ...shown.map(item => [data.files[item.file], ...columns.map(column => item.cells[column.name])])]);
}
