/* The report's groups: a histogram, or the shares of classes, of each speaker, folder or other column. */
"use strict";

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

/* How many items, in words: shares are of these, whatever their length. */
const many = count => `${amount(count)} ${count === 1 ? (state.level === "row" ? data.row : "recording") : state.level === "row" ? data.rows : "recordings"}`;

function histogram(cells, least, most, caption) {
    const bins = new Array(20).fill(0), width = (most - least || 1) / 20;
    cells.forEach(value => { bins[Math.min(Math.floor((value - least) / width), 19)] += 1; });
    const middle = [...cells].sort((a, b) => a - b)[Math.floor(cells.length / 2)];
    caption.append(make("span", "quiet", ` ${many(cells.length)}, median ${middle.toFixed(2)}`));
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
    const box = make("div", "scaled");
    picture.prepend(make("span", "quiet most", amount(top)));
    box.append(picture, ends);
    return box;
}

function shares(cells, caption) {
    const counts = new Map(), box = make("div", "shares");
    cells.forEach(cell => counts.set(cell, (counts.get(cell) ?? 0) + 1));
    caption.append(make("span", "quiet", ` of ${many(cells.length)}`));
    const order = Object.keys(data.colours);
    const sorted = [...counts].sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
    const bar = make("div", "stack"), text = make("p", "quiet parts");
    sorted.forEach(([name, count]) => {
        const part = make("i");
        part.style.width = `${count / cells.length * 100}%`;
        part.style.background = `var(--c${data.colours[name] ?? 6})`;
        part.title = `${name}: ${count}`;
        bar.append(part);
    });
    text.append(...sorted.map(([name, count]) => make("span", "", `${name} ${Math.round(count / cells.length * 100)} %`)));
    box.append(bar, text);
    return box;
}
