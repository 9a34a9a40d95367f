/* Draws what is near the screen, and again when filters, theme or paper change. */
const tables = new Map();
const plots = new Map();

async function build(box) {
  const [built, kind] = box.dataset.table ? [tables, Table] : [plots, Plot];
  if (built.has(box)) return;
  built.set(box, null);
  const content = await unpack(box.dataset.table ? `table-${box.dataset.table}` : `figure-${box.dataset.figure}`);
  built.set(box, new kind(box, content));
  if (box.dataset.table) box.dataset.drawn = "yes";
}

const PANELS = "[data-table], [data-figure]";
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      build(target);
    }
  },
  { rootMargin: NEAR },
);

const redraw = (size) => {
  for (const plot of plots.values()) plot?.draw(size);
};

function refilter() {
  readFilters();
  for (const table of tables.values()) table?.filter();
  redraw();
}

const openDetails = (event) => event.target.open && all(PANELS, event.target).forEach(build);
document.addEventListener("toggle", openDetails, true);
form.addEventListener("change", refilter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("click", (event) => {
  const what = event.target.dataset.set;
  if (!what) return;
  for (const input of all("input", event.target.closest("fieldset"))) input.checked = what === "all";
  refilter();
});
document.addEventListener("click", (event) => {
  for (const open of all("details[open]", form)) if (!open.contains(event.target)) open.open = false;
});

const button = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

function retheme() {
  button.textContent = isDark() ? "Light" : "Dark";
  redraw();
}

button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  retheme();
});
dark.addEventListener("change", retheme);

/* Prints are light, with figures of the width of the paper. */
let before;

window.addEventListener("beforeprint", () => {
  before = root.dataset.theme;
  root.dataset.theme = "light";
  redraw({ width: 660, autosize: false });
});
window.addEventListener("afterprint", () => {
  if (before) root.dataset.theme = before;
  else delete root.dataset.theme;
  redraw();
});

/* Draws what is far from the screen when the browser is idle, so that a print is complete. */
async function buildTheRest() {
  for (const box of all(PANELS)) {
    if (box.closest("details:not([open])")) continue;
    await new Promise((resume) => (window.requestIdleCallback ?? setTimeout)(resume));
    await build(box);
  }
  root.dataset.drawn = "yes";
}

if (matchMedia("(max-width: 999px)").matches) document.querySelector("nav details").open = false;
readFilters();
retheme();
for (const box of all(PANELS)) near.observe(box);
window.addEventListener("load", () => setTimeout(buildTheRest, 1500));
