/* Draws the tables, sorts and filters them, and saves them as CSV. */
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
