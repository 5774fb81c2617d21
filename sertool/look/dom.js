/* What scripts of pages share: elements, colours, themes. */
"use strict";

const by = id => document.getElementById(id);

/* Return a new element with text in it, which is never markup. */
const make = (tag, className = "", text = "") => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
};

/* Return a colour of data, by its index, in the page's present theme. */
const paint = index => getComputedStyle(document.documentElement).getPropertyValue(`--c${index}`).trim();

/* Return a class as a pill with its colour. */
function chip(value, index = 6) {
    const chip = make("span", "chip"), mark = make("i");
    mark.style.background = `var(--c${index})`;
    chip.append(mark, value);
    return chip;
}

/* Let the reader save lines of cells as CSV. */
function saveTable(name, lines) {
    const cell = value => {
        const text = value === null || value === undefined ? "" : String(value);
        return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([lines.map(line => `${line.map(cell).join(",")}\n`).join("")], {type: "text/csv"}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/* A light or a dark page: the reader's choice, else the system's. */
function themed(button, changed) {
    const dark = () => document.documentElement.dataset.theme === "dark";
    const set = theme => {
        document.documentElement.dataset.theme = theme;
        button.textContent = dark() ? "Light" : "Dark";
        button.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
        changed();
    };
    const wish = window.matchMedia("(prefers-color-scheme: dark)");
    button.addEventListener("click", () => set(dark() ? "light" : "dark"));
    wish.addEventListener("change", () => set(wish.matches ? "dark" : "light"));
    set(wish.matches ? "dark" : "light");
}
