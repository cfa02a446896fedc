/* Draws the figures, nearest the top first; shows what a link leads to; copies commands. */
const figures = JSON.parse(document.getElementById("figures").textContent);

async function draw(id) {
  await vegaEmbed(document.getElementById(`chart-${id}`), figures[id], {
    mode: "vega-lite", renderer: "svg", actions: false, hover: false, defaultStyle: false,
    tooltip: { theme: "lab", disableDefaultStyle: true },
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const label = button.firstChild;
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = document.execCommand("copy") ? "Copied" : "Selected";
  }
  document.getElementById("said").textContent = label.textContent;
  setTimeout(() => { label.textContent = "Copy"; }, 2000);
});

async function start() {
  for (const id of Object.keys(figures)) await draw(id);
  performance.mark("charts-drawn");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}
start();
