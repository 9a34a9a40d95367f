/* Draws the report's figures and tables from the data in the page, filters them, and saves them as SVG and CSV.
   Data is always inserted as text (textContent), never as markup. */
"use strict";
(() => {
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

  /* ---- tables ---- */

  class Table {
    constructor(box, { columns, rows, signed }) {
      Object.assign(this, { box, columns, rows, signed: new Set(signed), sorted: null, body: make("tbody") });
      const changes = columns.filter((column) => this.signed.has(column.name)).flatMap((column) => column.numbers);
      this.largest = changes.reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 1e-9);
      box.querySelector("table").append(this.head(), this.body);
      box.querySelector("[data-csv]").addEventListener("click", () => save(`${box.dataset.table}.csv`, this.csv(), "text/csv"));
      this.scroll = box.querySelector(".scroll");
      this.scroll.addEventListener("scroll", () => {
        if (this.scroll.scrollTop + this.scroll.clientHeight > this.scroll.scrollHeight - 400) this.more();
      });
      this.filter();
    }

    value(column, row) {
      if (column.numbers) return column.numbers[row];
      return column.codes[row] < 0 ? null : column.levels[column.codes[row]];
    }

    head() {
      const cells = this.columns.map((column) => {
        const button = make("button", { type: "button", textContent: column.name });
        const cell = make("th", { scope: "col", className: column.numbers ? "number" : "" }, button);
        button.addEventListener("click", () => this.sort(column, cell));
        return cell;
      });
      return make("thead", {}, make("tr", {}, ...cells));
    }

    filter() {
      const tests = this.columns
        .filter((column) => chosen.has(column.name))
        .map((column) => {
          const values = column.levels ?? [...new Set(column.numbers)].filter((value) => value !== null);
          const out = new Set(values.filter((value) => !isChosen(column.name, String(value))));
          return (row) => !out.has(this.value(column, row));
        });
      this.order = [...Array(this.rows).keys()].filter((row) => tests.every((test) => test(row)));
      this.show();
    }

    sort(column, cell) {
      const down = this.sorted?.column === column && !this.sorted.down;
      this.sorted = { column, down };
      for (const other of all("th", this.box)) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      this.show();
    }

    /* Rows without a value come last in both directions; ties keep the order of the table. */
    arrange({ column, down }) {
      const compare = column.numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
      this.order.sort((i, j) => {
        const [a, b] = [this.value(column, i), this.value(column, j)];
        if (a === null || b === null) return (a === null) - (b === null) || i - j;
        return (down ? compare(b, a) : compare(a, b)) || i - j;
      });
    }

    show() {
      if (this.sorted) this.arrange(this.sorted);
      this.body.replaceChildren();
      this.drawn = 0;
      this.scroll.scrollTop = 0;
      this.more();
      const [left, rows] = [this.order.length, count(this.rows)];
      const shown = left === this.rows ? `${rows} rows` : `${count(left)} of ${rows} rows`;
      this.box.querySelector("output").textContent = left ? shown : "no rows match the filters";
    }

    more() {
      for (const row of this.order.slice(this.drawn, this.drawn + CHUNK)) {
        this.body.append(make("tr", {}, ...this.columns.map((column) => this.cell(column, this.value(column, row)))));
        this.drawn++;
      }
    }

    cell(column, value) {
      if (!column.numbers) {
        return make("td", { dir: "auto", textContent: value ?? "", className: value?.length > 48 ? "long" : "" });
      }
      const cell = make("td", { className: "number" });
      if (value === null) return cell;
      cell.textContent = short(value);
      if (!Number.isInteger(value)) cell.title = String(value);
      if (this.signed.has(column.name)) {
        cell.classList.add(value < 0 ? "minus" : "plus");
        cell.style.setProperty("--size", `${Math.round((70 * Math.abs(value)) / this.largest)}%`);
      }
      return cell;
    }

    csv() {
      const text = (column, value) => (value === null ? "" : column.numbers ? String(value) : quoted(value));
      const lines = this.order.map((row) => this.columns.map((column) => text(column, this.value(column, row))));
      return [this.columns.map((column) => quoted(column.name)), ...lines].map((line) => `${line.join(",")}\r\n`).join("");
    }
  }

  /* Four significant digits; whole numbers in full. */
  function short(value) {
    if (Number.isInteger(value)) return String(value);
    return Math.abs(value) < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  /* RFC 4180; text that a spreadsheet would run as a formula gets a leading apostrophe. */
  function quoted(text) {
    const formula = /^[=+\-@\t\r]/.test(text) && !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
    const safe = formula ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function save(name, content, type) {
    const href = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
    make("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10000);
  }

  /* ---- figures ---- */

  const MEANS_HIDDEN =
    "Hidden: means and random controls that include models excluded by the filters. The table has each model's numbers.";
  const LIGHT = { ink: "#222222", grid: "#d9d9d9" };
  const CONFIG = { responsive: true, displayModeBar: false, displaylogo: false, showTips: false, showSendToCloud: false };

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  class Plot {
    constructor(div, spec) {
      const box = div.closest("figure");
      Object.assign(this, { div, spec, note: box.querySelector(".note"), count: box.querySelector(".plot + .tools output") });
      if (spec.menu) this.choose(box.querySelector("[data-choice]"));
      box.querySelector("[data-svg]").addEventListener("click", () => this.svg());
      this.draw();
    }

    /* The page shows a figure's menu itself; each choice shows some of the traces. */
    choose(label) {
      this.menu = make("select", {}, ...this.spec.menu.map((one) => new Option(one.label)));
      this.wish = 0;
      this.menu.addEventListener("change", () => {
        this.wish = this.menu.selectedIndex;
        this.draw();
      });
      label.append(this.menu);
      label.hidden = false;
    }

    /* Shows the reader's choice if the filters keep any of its traces, else the first choice of which they do. */
    pick() {
      if (!this.menu) return;
      const choices = this.spec.menu.map((one) => one.args[0].visible);
      const kept = this.spec.data.map((trace) => trace.meta && isKept(trace.meta));
      const open = choices.map((visible) => visible.some((up, index) => up && kept[index]));
      open.forEach((some, index) => (this.menu.options[index].disabled = !some));
      this.menu.selectedIndex = open[this.wish] || !open.includes(true) ? this.wish : open.indexOf(true);
      this.spec.data.forEach((trace, index) => (trace.visible = choices[this.menu.selectedIndex][index]));
    }

    draw(size = {}) {
      this.pick();
      const { data, layout } = this.themed({ ink: colour("--ink"), grid: colour("--grid") });
      const series = data.filter((trace, index) => trace.meta && this.spec.data[index].visible !== false);
      const kept = series.filter((trace) => trace.visible !== false).length;
      const none = series.length > 0 && kept === 0;
      const some = series.length === kept ? "" : `${kept} of ${series.length} series`;
      this.div.hidden = none;
      this.count.textContent = none ? "no series match the filters" : some;
      this.note.hidden = !this.spec.data.some(({ meta }) => !isExcluded(meta) && isPartial(meta));
      this.note.textContent = this.note.hidden ? "" : MEANS_HIDDEN;
      if (none) return;
      Plotly.react(this.div, data, { ...layout, ...size }, CONFIG).then(() => (this.div.dataset.drawn = "yes"));
    }

    /* The figure in the given colours, with only the traces that the filters keep. */
    themed({ ink, grid }) {
      const recoloured = (key, value) =>
        typeof value !== "string" ? value : INKS.test(value) ? ink : PALES.test(value) ? grid : value;
      const { data, layout } = JSON.parse(JSON.stringify(this.spec), recoloured);
      for (const trace of data) if (!isKept(trace.meta)) trace.visible = false;
      keepLegends(data);
      Object.assign(layout, { paper_bgcolor: CLEAR, plot_bgcolor: CLEAR, autosize: true });
      layout.font = { family: "system-ui, sans-serif", ...layout.font, color: ink };
      layout.legend = { ...layout.legend, bgcolor: CLEAR };
      if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
      for (const [key, part] of Object.entries(layout)) {
        if (/^[xy]axis\d*$/.test(key)) Object.assign(part, { gridcolor: grid, zerolinecolor: grid });
        if (/^xaxis\d*$/.test(key) && part.title?.text) part.title.text = wrapped(part.title.text, this.div.clientWidth);
        if (/^polar\d*$/.test(key)) {
          this.round(layout);
          part.bgcolor = CLEAR;
          part.radialaxis = { ...part.radialaxis, gridcolor: grid, linecolor: grid };
          part.angularaxis = { ...part.angularaxis, gridcolor: grid, linecolor: grid };
        }
      }
      return { data, layout };
    }

    /* A radar is at most as high as it is wide; the legend keeps its distance. */
    round(layout) {
      const { l = 80, r = 80, t = 100, b = 80 } = layout.margin ?? {};
      const before = layout.height - t - b;
      const inside = Math.min(before, Math.max(this.div.clientWidth - l - r, 120));
      if (layout.legend.y > 1) layout.legend.y = 1 + ((layout.legend.y - 1) * before) / inside;
      layout.height = inside + t + b;
      this.div.style.minHeight = `${layout.height}px`;
    }

    /* Always in light colours, with the traces that the filters keep. */
    async svg() {
      const { data, layout } = this.themed(LIGHT);
      const { width, height } = this.div.getBoundingClientRect();
      Object.assign(layout, { paper_bgcolor: "#ffffff", width, height, autosize: false });
      const url = await Plotly.toImage({ data, layout }, { format: "svg", width, height });
      save(`${this.div.dataset.figure}.svg`, decodeURIComponent(url.slice(url.indexOf(",") + 1)), "image/svg+xml");
    }
  }

  /* The title of an x axis, in two lines where the figure is too narrow; letters are about 7 pixels wide. */
  function wrapped(title, width) {
    const middle = title.indexOf(" ", title.length / 2);
    if (middle < 0 || title.includes("<br>") || title.length * 7 < width - 150) return title;
    return `${title.slice(0, middle)}<br>${title.slice(middle + 1)}`;
  }

  /* Where the trace with a group's legend entry is hidden, the first visible trace of the group gets it. */
  function keepLegends(data) {
    const entries = data.filter((trace) => trace.legendgroup && trace.showlegend !== false);
    for (const { legendgroup } of entries) {
      const group = data.filter((trace) => trace.legendgroup === legendgroup && trace.visible !== false);
      if (group.length && group.every((trace) => trace.showlegend === false)) group[0].showlegend = true;
    }
  }

  /* ---- the page ---- */

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
})();
