/* Draws the specifications; the charts along depth share their data and a cursor. */
const { charts, data } = JSON.parse(document.getElementById("report-data").textContent);
const DEPTH = ["lanes", "q", "g", "c"];
const views = [];

async function draw(id) {
  const box = document.getElementById(`chart-${id}`);
  const along = DEPTH.includes(id);
  const spec = along ? { ...charts[id], datasets: data } : charts[id];
  const { view } = await vegaEmbed(box, spec, {
    mode: "vega-lite", renderer: "svg", actions: false, hover: false, tooltip: false, defaultStyle: false,
  });
  if (along) views.push(view);
  return view;
}

/* The operation, from 1, that lies under the pointer. */
function under(view, event) {
  const box = view.container().querySelector("svg").getBoundingClientRect();
  const x = event.clientX - box.left - view.origin()[0];
  const { length } = data.operations;
  return Math.min(length, Math.max(1, Math.round(view.scale("x").invert(x))));
}

function point(i) {
  for (const view of views) if (view.signal("at") !== i) view.signal("at", i).runAsync();
}

/* What the table says of operation i, in a line. */
function read(i) {
  const row = document.getElementById(`op-${i}`);
  const heads = document.querySelectorAll("#layers-table thead th");
  const link = document.createElement("a");
  link.href = `#op-${i}`;
  link.textContent = row.querySelector("th").textContent.trim();
  const parts = [link];
  Array.from(row.cells).forEach((cell, column) => {
    const text = cell.textContent.trim();
    const name = heads[column].textContent.trim();
    if (cell.tagName === "TH" || name === "#" || text === "" || text === "–") return;
    const part = document.createElement("span");
    const value = document.createElement("b");
    value.textContent = text;
    part.append(...(name === "operation" ? [value] : [`${name} `, value]));
    parts.push(part);
  });
  document.getElementById("reading").replaceChildren(`${i} · `, ...parts);
  return parts.map((part) => part.textContent).join(", ");
}
