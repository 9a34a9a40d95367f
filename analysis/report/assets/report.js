/* Draws the report's tables and figures from the data in the page, filters them, and saves them as CSV and SVG.
   Whatever comes from the data reaches the document as textContent, never as markup. */
"use strict";
(() => {
  const CHUNK = 200;
  const NEAR = "700px";
  const INKS = /^(#333333|#333|#2a3f5f|black|#000000|#000)$/i;
  const PALES = /^(#E5E5E5|#EBF0F8|#DFE8F3|#C8D4E3)$/i;

  const number = (value) => value.toLocaleString("en");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* ---- data ---- */

  const unpacked = new Map();

  function unpack(id) {
    if (!unpacked.has(id)) {
      const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (one) => one.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      unpacked.set(id, new Response(stream).text().then(JSON.parse));
    }
    return unpacked.get(id);
  }

  /* ---- filters ---- */

  const form = document.getElementById("filters");
  const chosen = new Map();

  function readFilters() {
    for (const box of form.querySelectorAll("details")) {
      const inputs = [...box.querySelectorAll("input")];
      const on = inputs.filter((input) => input.checked).map((input) => input.value);
      chosen.set(box.dataset.filter, { on: new Set(on), all: new Set(inputs.map((input) => input.value)) });
      const names = on.length > 2 ? `${on.length} of ${inputs.length}` : on.join(", ") || "none";
      box.querySelector("output").textContent = on.length === inputs.length ? "all" : names;
    }
  }

  /* A value that no box stands for, such as an empty one, cannot be chosen away. */
  function isChosen(filter, value) {
    const { on, all } = chosen.get(filter);
    return on.has(value) || !all.has(value);
  }

  const isOut = ([key, value]) => chosen.has(key) && !isChosen(key, String(value));

  /* Whether a trace is of a model, a condition or data that the filters leave out. */
  const isOfOthers = (meta) => Object.entries(meta ?? {}).some(isOut);

  /* Whether it is a mean over models some of which the filters leave out: it is not of those that are left. */
  const isMeanWithOthers = (meta) =>
    Object.entries(meta?.over ?? {}).some(([key, values]) => values.some((value) => isOut([key, value])));

  const isLeft = (meta) => !isOfOthers(meta) && !isMeanWithOthers(meta);

  /* ---- tables ---- */

  class Table {
    constructor(box, content) {
      this.box = box;
      this.columns = content.columns;
      this.rows = content.rows;
      this.signed = new Set(content.signed);
      this.largest = 1e-9;
      for (const column of this.columns.filter((one) => this.signed.has(one.name))) {
        for (const value of column.numbers) this.largest = Math.max(this.largest, Math.abs(value ?? 0));
      }
      this.sorted = null;
      this.body = document.createElement("tbody");
      this.head();
      box.querySelector("table").append(this.body);
      box.querySelector("[data-csv]").addEventListener("click", () => save(`${box.dataset.table}.csv`, this.csv(), "text/csv"));
      const scroll = box.querySelector(".scroll");
      scroll.addEventListener("scroll", () => {
        if (scroll.scrollTop + scroll.clientHeight > scroll.scrollHeight - 400) this.more();
      });
      this.filter();
    }

    value(column, row) {
      if (column.numbers) return column.numbers[row];
      const code = column.codes[row];
      return code < 0 ? null : column.levels[code];
    }

    head() {
      const row = document.createElement("tr");
      for (const column of this.columns) {
        const cell = document.createElement("th");
        cell.scope = "col";
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = column.name;
        button.addEventListener("click", () => this.sort(column, cell));
        cell.append(button);
        if (column.numbers) cell.className = "number";
        row.append(cell);
      }
      const head = document.createElement("thead");
      head.append(row);
      this.box.querySelector("table").append(head);
    }

    filter() {
      const tests = [];
      for (const column of this.columns) {
        if (!chosen.has(column.name)) continue;
        if (column.numbers) tests.push((row) => column.numbers[row] === null || isChosen(column.name, String(column.numbers[row])));
        else {
          const levels = column.levels.map((level) => isChosen(column.name, level));
          tests.push((row) => column.codes[row] < 0 || levels[column.codes[row]]);
        }
      }
      this.order = [];
      for (let row = 0; row < this.rows; row++) if (tests.every((test) => test(row))) this.order.push(row);
      if (this.sorted) this.arrange();
      this.show();
    }

    sort(column, cell) {
      const down = this.sorted?.column === column && !this.sorted.down;
      this.sorted = { column, down };
      for (const other of this.box.querySelectorAll("th")) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      this.arrange();
      this.show();
    }

    /* Rows without a value come last in either direction; equal ones keep their order. */
    arrange() {
      const { column, down } = this.sorted;
      const values = this.order.map((row) => [this.value(column, row), row]);
      const compare = column.numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
      values.sort(([a, i], [b, j]) => {
        if (a === null || b === null) return (a === null) - (b === null) || i - j;
        return (down ? compare(b, a) : compare(a, b)) || i - j;
      });
      this.order = values.map(([, row]) => row);
    }

    show() {
      this.body.replaceChildren();
      this.drawn = 0;
      this.box.querySelector(".scroll").scrollTop = 0;
      this.more();
      const all = this.order.length === this.rows;
      const words = all ? `${number(this.rows)} rows` : `${number(this.order.length)} of ${number(this.rows)} rows`;
      this.box.querySelector("output").textContent = this.order.length ? words : `${words}: none fits the filters`;
    }

    more() {
      const until = Math.min(this.drawn + CHUNK, this.order.length);
      const rows = document.createDocumentFragment();
      for (; this.drawn < until; this.drawn++) {
        const row = this.order[this.drawn];
        const line = document.createElement("tr");
        for (const column of this.columns) line.append(this.cell(column, this.value(column, row)));
        rows.append(line);
      }
      this.body.append(rows);
    }

    cell(column, value) {
      const cell = document.createElement("td");
      if (column.numbers) {
        cell.className = "number";
        if (value !== null && !Number.isInteger(value)) cell.title = String(value);
        if (value !== null && this.signed.has(column.name)) {
          cell.classList.add(value < 0 ? "minus" : "plus");
          cell.style.setProperty("--size", `${Math.round((70 * Math.abs(value)) / this.largest)}%`);
        }
        cell.textContent = value === null ? "" : short(value);
      } else {
        cell.dir = "auto";
        cell.textContent = value ?? "";
        if (value?.length > 48) cell.className = "long";
      }
      return cell;
    }

    csv() {
      const lines = [this.columns.map((column) => quoted(column.name)).join(",")];
      for (const row of this.order) {
        const cells = this.columns.map((column) => {
          const value = this.value(column, row);
          return value === null ? "" : column.numbers ? String(value) : quoted(value);
        });
        lines.push(cells.join(","));
      }
      return lines.join("\r\n") + "\r\n";
    }
  }

  /* Four significant digits; a whole number in full. */
  function short(value) {
    if (Number.isInteger(value)) return String(value);
    const rounded = Number(value.toPrecision(4));
    return Math.abs(value) < 1e-4 ? value.toExponential(2) : String(rounded);
  }

  /* RFC 4180; a text that a spreadsheet would run as a formula gets an apostrophe in front. */
  function quoted(text) {
    const formula = /^[=+\-@\t\r]/.test(text) && !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
    const safe = formula ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function save(name, content, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /* ---- figures ---- */

  const MEANS_HIDDEN =
    "Hidden: means, and random controls, over models some of which the filters leave out. " +
    "The table has the numbers of each model.";
  const LIGHT = { ink: "#222222", grid: "#d9d9d9" };

  class Plot {
    constructor(div, spec) {
      this.div = div;
      this.spec = spec;
      const box = div.closest("figure");
      this.choose(box.querySelector("[data-choice]"));
      this.note = box.querySelector(".note");
      this.count = box.querySelector(".plot + .tools output");
      box.querySelector("[data-svg]").addEventListener("click", () => this.svg());
      this.draw();
    }

    /* A figure's own menu becomes one of the page: it says which traces are up for showing. */
    choose(label) {
      if (!this.spec.menu) return;
      this.menu = document.createElement("select");
      for (const one of this.spec.menu) this.menu.append(new Option(one.label));
      this.wish = 0;
      this.menu.addEventListener("change", () => {
        this.wish = this.menu.selectedIndex;
        this.draw();
      });
      label.append(this.menu);
      label.hidden = false;
    }

    /* What the reader chose is shown if the filters leave anything of it, else the first choice of which they do. */
    pick() {
      if (!this.menu) return;
      const choices = this.spec.menu.map((one) => one.args[0].visible);
      const left = this.spec.data.map((trace) => trace.meta && isLeft(trace.meta));
      const open = choices.map((visible) => visible.some((up, index) => up && left[index]));
      open.forEach((some, number) => (this.menu.options[number].disabled = !some));
      this.menu.selectedIndex = open[this.wish] || !open.includes(true) ? this.wish : open.indexOf(true);
      this.spec.data.forEach((trace, index) => (trace.visible = choices[this.menu.selectedIndex][index]));
    }

    theme() {
      return { ink: style("--ink"), grid: style("--grid") };
    }

    draw(size = {}) {
      this.pick();
      const { data, layout } = this.themed(this.theme());
      const all = data.filter((trace, index) => trace.meta && this.spec.data[index].visible !== false);
      const kept = all.filter((trace) => trace.visible !== false);
      const none = all.length > 0 && kept.length === 0;
      this.div.hidden = none;
      const some = all.length === kept.length ? "" : `${kept.length} of ${all.length} series`;
      this.count.textContent = none ? "nothing here fits the filters" : some;
      const hidden = this.spec.data.some(({ meta }) => !isOfOthers(meta) && isMeanWithOthers(meta));
      this.note.hidden = !hidden;
      this.note.textContent = hidden ? MEANS_HIDDEN : "";
      if (none) return;
      const config = { responsive: true, displayModeBar: false, displaylogo: false, showTips: false, showSendToCloud: false };
      Object.assign(layout, size);
      Plotly.react(this.div, data, layout, config).then(() => (this.div.dataset.drawn = "yes"));
    }

    /* The figure with the page's ink and grid in place of its own, and only the chosen traces. */
    themed({ ink, grid }) {
      const recolour = (value) => {
        if (Array.isArray(value)) return value.map(recolour);
        if (value && typeof value === "object") {
          return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, recolour(one)]));
        }
        if (typeof value !== "string") return value;
        return INKS.test(value) ? ink : PALES.test(value) ? grid : value;
      };
      const data = recolour(this.spec.data);
      const layout = recolour(this.spec.layout);
      for (const trace of data) if (!isLeft(trace.meta)) trace.visible = false;
      keepLegends(data);
      Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true });
      layout.font = { family: "system-ui, sans-serif", ...layout.font, color: ink };
      layout.legend = { ...layout.legend, bgcolor: "rgba(0,0,0,0)" };
      if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
      const line = { gridcolor: grid, zerolinecolor: grid };
      for (const [key, part] of Object.entries(layout)) {
        if (/^[xy]axis\d*$/.test(key)) Object.assign(part, line);
        if (/^xaxis\d*$/.test(key) && part.title?.text) part.title.text = wrapped(part.title.text, this.div.clientWidth);
        if (/^polar\d*$/.test(key)) {
          this.round(layout);
          part.bgcolor = "rgba(0,0,0,0)";
          part.radialaxis = { ...part.radialaxis, gridcolor: grid, linecolor: grid };
          part.angularaxis = { ...part.angularaxis, gridcolor: grid, linecolor: grid };
        }
      }
      return { data, layout };
    }

    /* A radar is no higher than it is wide; the legend keeps its distance. */
    round(layout) {
      const { l = 80, r = 80, t = 100, b = 80 } = layout.margin ?? {};
      const before = layout.height - t - b;
      const inside = Math.min(before, Math.max(this.div.clientWidth - l - r, 120));
      if (layout.legend.y > 1) layout.legend.y = 1 + ((layout.legend.y - 1) * before) / inside;
      layout.height = inside + t + b;
      this.div.style.minHeight = `${layout.height}px`;
    }

    /* Always in the colours of paper, with what the filters leave. */
    async svg() {
      const { data, layout } = this.themed(LIGHT);
      const { width, height } = this.div.getBoundingClientRect();
      Object.assign(layout, { paper_bgcolor: "#ffffff", width, height, autosize: false });
      const url = await Plotly.toImage({ data, layout }, { format: "svg", width, height });
      save(`${this.div.dataset.figure}.svg`, decodeURIComponent(url.slice(url.indexOf(",") + 1)), "image/svg+xml");
    }
  }

  /* A long title of an x axis in two lines where the figure is narrow; letters are about 7 pixels wide. */
  function wrapped(title, width) {
    const middle = title.indexOf(" ", title.length / 2);
    if (middle < 0 || title.includes("<br>") || title.length * 7 < width - 150) return title;
    return `${title.slice(0, middle)}<br>${title.slice(middle + 1)}`;
  }

  /* Where the trace that stands in the legend for its group is hidden, the first visible one of the group takes over. */
  function keepLegends(data) {
    const shown = new Set();
    const hidden = new Set();
    for (const trace of data) {
      if (trace.legendgroup && trace.showlegend !== false) (trace.visible === false ? hidden : shown).add(trace.legendgroup);
    }
    for (const trace of data) {
      if (trace.visible !== false && hidden.has(trace.legendgroup) && !shown.has(trace.legendgroup)) {
        trace.showlegend = true;
        shown.add(trace.legendgroup);
      }
    }
  }

  /* ---- the page ---- */

  const tables = new Map();
  const plots = new Map();

  async function build(box) {
    if (box.dataset.table && !tables.has(box)) {
      tables.set(box, null);
      tables.set(box, new Table(box, await unpack(`table-${box.dataset.table}`)));
      box.dataset.drawn = "yes";
    } else if (box.dataset.figure && !plots.has(box)) {
      plots.set(box, null);
      plots.set(box, new Plot(box, await unpack(`figure-${box.dataset.figure}`)));
    }
  }

  const boxes = [...document.querySelectorAll("[data-table], [data-figure]")];
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          near.unobserve(entry.target);
          build(entry.target);
        }
      }
    },
    { rootMargin: NEAR },
  );

  document.addEventListener(
    "toggle",
    (event) => {
      if (event.target.open) for (const box of event.target.querySelectorAll("[data-table], [data-figure]")) build(box);
    },
    true,
  );

  const redraw = () => {
    for (const plot of plots.values()) plot?.draw();
  };

  function refilter() {
    readFilters();
    for (const table of tables.values()) table?.filter();
    redraw();
  }

  form.addEventListener("change", refilter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    const what = event.target.dataset.set;
    if (!what) return;
    for (const input of event.target.closest("fieldset").querySelectorAll("input")) input.checked = what === "all";
    refilter();
  });
  document.addEventListener("click", (event) => {
    for (const open of form.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false;
  });

  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

  function retheme() {
    button.textContent = isDark() ? "Light" : "Dark";
    redraw();
  }

  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    retheme();
  });
  dark.addEventListener("change", retheme);

  /* Paper shows every figure, drawn to its width; figures far from the screen were only waiting for a reader. */
  const PAPER = { width: 660, autosize: false };
  let before = null;

  window.addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme ?? "";
    document.documentElement.dataset.theme = "light";
    for (const plot of plots.values()) plot?.draw(PAPER);
  });
  window.addEventListener("afterprint", () => {
    if (before) document.documentElement.dataset.theme = before;
    else delete document.documentElement.dataset.theme;
    redraw();
  });

  /* One box at a time while the reader reads, so that a print finds everything drawn. */
  async function buildTheRest() {
    for (const box of boxes) {
      if (box.closest("details:not([open])")) continue;
      await new Promise((resume) => (window.requestIdleCallback ?? setTimeout)(resume));
      await build(box);
    }
    document.documentElement.dataset.drawn = "yes";
  }

  if (matchMedia("(max-width: 999px)").matches) document.querySelector("nav details").open = false;
  readFilters();
  retheme();
  for (const box of boxes) near.observe(box);
  window.addEventListener("load", () => setTimeout(buildTheRest, 1500));
})();
