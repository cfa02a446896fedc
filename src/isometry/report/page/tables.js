"use strict";
/* Tables that are already there get search and sort; long ones are folded by the style sheet. */
const say = (text) => { document.getElementById("said").textContent = text; };

function unfold(table) {
  table.classList.remove("folded");
  const button = document.querySelector(`[data-unfold="${table.id}"]`);
  if (button) button.hidden = true;
}

/* "1.4e-05", "45 %", "inf", "64x256" and "–" as what they sort by; nothing sorts last. */
function sortKey(text, kind) {
  const shown = text.trim();
  if (kind === "text") return shown;
  if (shown === "" || shown === "–") return null;
  if (kind === "size") return shown.split("x").reduce((size, n) => size * (parseInt(n, 10) || 1), 1);
  if (shown.endsWith("inf")) return shown.startsWith("-") ? -Infinity : Infinity;
  return shown === "nan" ? null : parseFloat(shown);
}

const inOrder = new Intl.Collator("en", { numeric: true }).compare;

function sortBy(table, head) {
  const column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  const sign = up ? 1 : -1;
  const keyed = Array.from(table.tBodies[0].rows, (row) => [sortKey(row.cells[column].textContent, head.dataset.kind), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? inOrder(a, b) : a === b ? 0 : a < b ? -1 : 1);
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
}

function search(table, wanted, found) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = table.tBodies[0].rows;
  if (words.length) unfold(table);
  let shown = 0;
  for (const row of rows) {
    const text = words.length ? row.textContent.toLowerCase() : "";
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  found.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
}

function enliven(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sortBy(table, head));
  }
}

document.querySelectorAll("table").forEach(enliven);
for (const input of document.querySelectorAll("input[type=search]")) {
  const table = document.getElementById(input.dataset.table);
  const found = document.getElementById(input.id.replace("search", "found"));
  input.addEventListener("input", () => search(table, input.value, found));
}
for (const button of document.querySelectorAll("[data-unfold]")) {
  button.addEventListener("click", () => unfold(document.getElementById(button.dataset.unfold)));
}
