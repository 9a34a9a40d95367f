/* Draws the figures in the colours of the page, filters them, and saves them as SVG. */
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
