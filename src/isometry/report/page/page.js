/* What is chosen: one operation, in the charts, on the slider, in the reading and in the table. */
const slider = document.getElementById("walk");
let chosen = 0;

function choose(i) {
  chosen = i;
  point(i);
  const said = read(i);
  slider.value = i;
  slider.setAttribute("aria-valuetext", said);
  document.querySelectorAll("tr.chosen").forEach((row) => row.classList.remove("chosen"));
  document.getElementById(`op-${i}`).classList.add("chosen");
}

/* Show what a link leads to, wherever it is folded away, and put the focus there. */
function goTo(hash) {
  const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (target.matches("tr")) {
    const table = target.closest("table");
    if (target.rowIndex > 100) unfold(table);
    if (target.hidden) {
      const input = document.querySelector(`input[data-table="${table.id}"]`);
      input.value = "";
      input.dispatchEvent(new Event("input"));
    }
    choose(Number(target.id.slice(3)));
  }
  if (!target.matches("tr, article")) return;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: target.matches("tr") ? "center" : "start" });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link && !event.metaKey && !event.ctrlKey) {
    setTimeout(() => goTo(link.getAttribute("href")));
    return;
  }
  const row = event.target.closest("tr[id]");
  if (row && !String(getSelection())) choose(Number(row.id.slice(3)));
  const copy = event.target.closest("[data-copy]");
  if (copy) copyText(document.getElementById(copy.dataset.copy), copy);
});

async function copyText(source, button) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
  }
  say(button.textContent);
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

function follow(view) {
  view.addEventListener("pointermove", (event) => { const i = under(view, event); point(i); read(i); });
  view.addEventListener("pointerout", () => { point(chosen); if (chosen) read(chosen); });
  view.addEventListener("click", (event, item) => {
    const finding = item && item.datum && item.datum.finding;
    if (finding) location.hash = finding;
    else choose(under(view, event));
  });
}

async function start() {
  addEventListener("hashchange", () => goTo(location.hash));
  if (slider) {
    slider.addEventListener("input", () => choose(Number(slider.value)));
    for (const id of DEPTH) if (charts[id]) await draw(id);
    views.forEach(follow);
  }
  performance.mark("depth-drawn");
  for (const id of Object.keys(charts)) if (!DEPTH.includes(id)) await draw(id);
  performance.mark("charts-drawn");
  goTo(location.hash);
}
start();
