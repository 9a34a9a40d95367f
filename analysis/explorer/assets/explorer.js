"use strict";
// The state of the controls becomes the URL and a request for each view on the screen; URLs and links set the controls.
(() => {
  // In the order of CONTROLS in page.py.
  const NAMES = ["run", "model", "tab", "source", "data", "item", "typed", "colour", "layer", "neuron", "set", "off",
    "bucket", "draw", "ablation", "statistic", "site", "top", "by", "scale", "region"];
  const NUMBERS = new Set(["layer", "neuron", "draw", "top"]);
  const TYPED = ["prompt", "first", "second"];
  const PAIR = ["source", "data", "item", "typed"];
  const MAP = ["run", "statistic", "site", "top"];
  // Of each view: its tab, and the controls that its answer depends on, always or for one value of another control.
  const VIEWS = [
    ["pair", ["run", "model", ...PAIR, "colour"], { neuron: ["layer", "neuron", "site"], set: ["set"] }, "colour"],
    ["off", ["run", "model", ...PAIR, "off", "ablation", "statistic", "site"], { set: ["set"], bucket: ["set", "bucket"],
      random: ["set", "draw"], neuron: ["layer", "neuron"], selection: ["region", "scale"] }, "off"],
    ["map", [...MAP, "by", "scale"], {}, null],
    ["map", [...MAP, "region", "scale"], {}, null],
    ["neuron", ["run", "model", "layer", "neuron", "site", ...PAIR], {}, null],
  ];
  const PANES = ["pair", "off", "map", "neuron", "pair-choice", "type-choice", "pick-choice"];
  const session = Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16)).join("");
  let token = Date.now();
  let asked = VIEWS.map(() => null);
  const keep = () => window.dash_clientside.no_update;

  function parse(text) {
    const found = new URLSearchParams(text.replace(/^#/, ""));
    const state = {};
    for (const name of NAMES) {
      if (!found.has(name)) continue;
      const value = found.get(name);
      if (name === "region") {
        try { state.region = value ? JSON.parse(value) : null; } catch { state.region = { axes: "damaged" }; }
      } else if (NUMBERS.has(name)) {
        state[name] = value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
      } else state[name] = value;
    }
    if (TYPED.some((name) => found.has(name))) {
      state.typed = Object.fromEntries(TYPED.map((name) => [name, found.get(name) || ""]));
    }
    return state;
  }

  function write(state) {
    const found = new URLSearchParams();
    for (const name of NAMES) {
      const value = state[name];
      if (value === null || value === undefined || value === "") continue;
      if (name === "typed") {
        if (state.source === "type") for (const part of TYPED) found.set(part, value[part] || "");
      } else if (name === "region") found.set(name, JSON.stringify(value));
      else if (!(state.source === "type" && name === "item")) found.set(name, String(value));
    }
    history.replaceState(history.state, "", "#" + found.toString());
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { explorer: {
    restore(hash, link) {
      const from = window.dash_clientside.callback_context.triggered_id === "link" ? link : hash;
      const state = typeof from === "string" ? parse(from) : from || {};
      const typed = state.typed;
      return [...NAMES.map((name) => (name in state ? state[name] : keep())),
        ...TYPED.map((name) => (typed ? typed[name] : keep()))];
    },
    ask(...values) {
      const state = Object.fromEntries(NAMES.map((name, place) => [name, values[place]]));
      write(state);
      const questions = VIEWS.map(([tab, always, sometimes, by], place) => {
        if (tab !== state.tab) return keep();
        const names = [...always, ...(by ? sometimes[state[by]] || [] : [])];
        const key = JSON.stringify(names.map((name) => state[name]));
        if (key === asked[place]) return keep();
        asked[place] = key;
        token += 1;
        const { typed, ...rest } = state;
        return { ...rest, ...(state.source === "type" ? typed : {}), session, token };
      });
      const shown = { [state.tab]: true, "pair-choice": state.tab !== "map", "type-choice": state.source === "type",
        "pick-choice": state.source !== "type" };
      return [...questions, ...PANES.map((name) => (shown[name] ? "pane" : "pane off"))];
    },
    type(clicks, prompt, first, second) {
      return clicks ? { source: "type", typed: { prompt: prompt || "", first: first || "", second: second || "" } }
        : keep();
    },
    select(selected, question) {
      // Undefined before the first selection, null when a selection is cleared.
      if (selected === undefined || !question) return keep();
      if (selected === null) return { region: null };
      const axes = [question.run, question.site, question.statistic].join("/");
      const of = (values) => values.map((value) => Number(value.toPrecision(6)));
      const shape = selected.lassoPoints || selected.range;
      return shape ? { region: { axes, x: of(shape.x), y: of(shape.y) } } : keep();
    },
    open(clicked) {
      const point = clicked && clicked.points && clicked.points[0];
      const plot = document.querySelector("#map-graph .js-plotly-plot");
      // Dash drops packed custom data from a point; the drawn figure has it unpacked.
      const places = point && plot && plot._fullData[point.curveNumber].customdata;
      const place = places && places[point.pointNumber];
      return place ? { tab: "neuron", layer: Number(place[0]), neuron: Number(place[1]) } : keep();
    },
  } });

  function go(state) {
    window.dash_clientside.set_props("link", { data: state });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.go");
    if (!button) return;
    if (button.dataset.item) go({ source: "pick", item: button.dataset.item });
    else go(parse(button.dataset.state));
  });

  // Shows the values of one token: the token under the pointer, or the one reached with the arrow keys.
  function read(token) {
    for (const other of document.querySelectorAll(".t.now")) other.classList.remove("now");
    token.classList.add("now");
    const line = document.getElementById("token-detail");
    if (line) line.textContent = token.title;
  }
  document.addEventListener("mouseover", (event) => {
    if (event.target.matches && event.target.matches(".tokens .t")) read(event.target);
  });
  document.addEventListener("keydown", (event) => {
    if (!event.target.matches || !event.target.matches(".tokens")) return;
    const steps = { ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    const tokens = [...event.target.children];
    const now = tokens.findIndex((token) => token.classList.contains("now"));
    const next = Math.min(tokens.length - 1, Math.max(0, now < 0 ? 0 : now + steps[event.key]));
    event.preventDefault();
    read(tokens[next]);
    tokens[next].scrollIntoView({ block: "nearest" });
  });
})();
