/* What the parts of the page's script share: elements, the data in the page, and the filters.
   Data is always inserted as text (textContent), never as markup. */
const CHUNK = 200; // rows of a table drawn at once
const NEAR = "700px"; // distance from the screen at which a figure or table is drawn
const INKS = /^(#333333|#333|#2a3f5f|black|#000000|#000)$/i;
const PALES = /^(#E5E5E5|#EBF0F8|#DFE8F3|#C8D4E3)$/i;
const CLEAR = "rgba(0,0,0,0)";

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const count = (value) => value.toLocaleString("en");

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/* ---- data ---- */

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/* ---- filters ---- */

const form = document.getElementById("filters");
const chosen = new Map();

function readFilters() {
  for (const box of all("details", form)) {
    const inputs = all("input", box);
    const on = inputs.filter((input) => input.checked).map((input) => input.value);
    chosen.set(box.dataset.filter, { on: new Set(on), known: new Set(inputs.map((input) => input.value)) });
    const names = on.length > 2 ? `${on.length} of ${inputs.length}` : on.join(", ") || "none";
    box.querySelector("output").textContent = on.length === inputs.length ? "all" : names;
  }
}

/* A value without a checkbox, such as an empty one, is always shown. */
function isChosen(filter, value) {
  const { on, known } = chosen.get(filter);
  return on.has(value) || !known.has(value);
}

const isOut = ([key, value]) => chosen.has(key) && !isChosen(key, String(value));

/* Whether the filters exclude the trace's model, condition or data. */
const isExcluded = (meta) => Object.entries(meta ?? {}).some(isOut);

/* Whether the trace is a mean over models some of which are excluded: it is not the mean of the others. */
const isPartial = (meta) =>
  Object.entries(meta?.over ?? {}).some(([key, values]) => values.some((value) => isOut([key, value])));

const isKept = (meta) => !isExcluded(meta) && !isPartial(meta);
