// What the pages do beyond being read: sort, filter, copy, search, and show where a number comes from.
"use strict";
window.vaebench = {};
const root = document.currentScript.dataset.root;
const theme = readTheme();
if (theme) document.documentElement.style.colorScheme = theme;
document.documentElement.classList.add("js");

function readTheme() {
  try { return localStorage.getItem("vaebench-theme"); } catch { return null; } // a page from a file may have no storage
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A script beside the pages, loaded once, when it is first needed.
const loading = {};
function load(address, name) {
  loading[address] ??= new Promise((done, failed) => {
    const script = element("script", { src: address, onload: () => done(window.vaebench[name]), onerror: failed });
    document.head.append(script);
  });
  return loading[address];
}

// --- tables ---------------------------------------------------------------------------------------------------------

const text = (node) => node.textContent.trim().replace(/\s+/g, " ");
const headings = (table) => [...table.tHead.rows[0].cells];
const rowsOf = (table) => [...table.tBodies[0].rows];

// On a phone a row is a card: what its parts are has then to be said, and what stands above them, beside them.
function label(table) {
  const names = headings(table).map(text);
  table.setAttribute("role", "table");
  for (const cell of headings(table)) cell.setAttribute("role", "columnheader");
  for (const row of table.rows) row.setAttribute("role", "row");
  for (const row of rowsOf(table)) {
    [...row.cells].forEach((cell, n) => {
      cell.setAttribute("role", n ? "cell" : "rowheader");
      cell.dataset.l = names[n];
    });
  }
}

function setUp(table) {
  const names = headings(table).map(text);
  const rows = rowsOf(table);
  headings(table).forEach((cell, n) => {
    const button = element("button", { type: "button", title: "Sort" }, names[n]);
    button.addEventListener("click", () => sort(table, n, rows));
    cell.replaceChildren(button);
  });
  table.parentElement.before(tools(table, names));
}

// First down, then up, then as it was. Rows without a number stay last.
function sort(table, column, original) {
  const heading = headings(table)[column];
  const next = { ascending: "descending", descending: null }[heading.getAttribute("aria-sort")];
  const way = next === undefined ? "ascending" : next;
  for (const cell of headings(table)) cell.removeAttribute("aria-sort");
  if (way) heading.setAttribute("aria-sort", way);
  const sign = way === "descending" ? -1 : 1;
  const value = (row) => (column ? Number(row.cells[column].dataset.v ?? NaN) : text(row.cells[0]));
  const before = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!column) return sign * x.localeCompare(y);
    return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || 0;
  };
  table.tBodies[0].append(...(way ? [...original].sort(before) : original));
}

function tools(table, names) {
  const filter = element("input", { type: "search", placeholder: "Filter rows", ariaLabel: "Filter rows" });
  const count = element("span", { className: "dim small", ariaLive: "polite" });
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rowsOf(table)) {
      const label = text(row.cells[0]).toLowerCase();
      row.hidden = !wanted.every((word) => label.includes(word));
    }
    const shown = rowsOf(table).filter((row) => !row.hidden).length;
    count.textContent = wanted.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
  });
  const made = element("div", { className: "tools" }, filter, columns(table, names));
  if (table.querySelector(".control")) made.append(toggle(table, "no-controls", "Controls"));
  if (table.querySelector(".nc")) made.append(toggle(table, "no-nc", "Not comparable"));
  made.append(copy(table, "Copy Markdown", markdown), copy(table, "Copy LaTeX", latex), count);
  return made;
}

function toggle(table, name, label) {
  const box = element("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => table.classList.toggle(name, !box.checked));
  return element("label", {}, box, " " + label);
}

function columns(table, names) {
  const list = element("div", { className: "menu" });
  names.forEach((name, n) => {
    if (!n) return;
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[n].hidden = !box.checked;
    });
    list.append(element("label", {}, box, " " + name));
  });
  return element("details", { className: "columns" }, element("summary", {}, "Columns"), list);
}

// --- copies ---------------------------------------------------------------------------------------------------------

// What is shown: label and numbers, "ours ± half, paper, verdict" in a cell.
function shown(table) {
  const visible = (node) => node.offsetParent !== null || node.getClientRects().length > 0;
  const cell = (node, n) => {
    if (!n || node.tagName === "TH") return text(node.querySelector("button") ?? node.firstChild ?? node);
    if (node.classList.contains("nc") && table.classList.contains("no-nc")) return "";
    return [...node.children].map(text).filter(Boolean).join(", ");
  };
  const rows = [...table.rows].filter((row) => row.parentElement === table.tHead || visible(row));
  return rows.map((row) => [...row.cells].map(cell).filter((_, n) => !row.cells[n].hidden));
}

function markdown(table) {
  const lines = shown(table).map((row) => `| ${row.map((one) => one.replace(/[\\|*_`<]/g, "\\$&")).join(" | ")} |`);
  lines.splice(1, 0, lines[0].replace(/[^|]+/g, (_, at) => (at === 1 ? " --- " : " ---: ")));
  return lines.join("\n") + "\n";
}

const COMMANDS = {
  "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "{": "\\{", "}": "\\}",
  "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "↑": "$\\uparrow$", "↓": "$\\downarrow$",
  "σ": "$\\sigma$", "λ": "$\\lambda$", "β": "$\\beta$", "×": "$\\times$", "−": "$-$", "→": "$\\to$", "≤": "$\\leq$",
};

function latex(table) {
  const escape = (one) => one.replace(/[\\&%$#_{}~^±↑↓σλβ×−→≤]/g, (found) => COMMANDS[found]);
  const [first, ...rows] = shown(table).map((row) => row.map(escape).join(" & ") + " \\\\");
  const width = shown(table)[0].length - 1;
  return [`\\begin{tabular}{l${"r".repeat(width)}}`, "\\toprule", first, "\\midrule", ...rows, "\\bottomrule",
    "\\end{tabular}", ""].join("\n");
}

function copy(table, label, write) {
  const button = element("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    const said = await put(write(table)).then(() => "Copied", () => "Could not copy");
    button.textContent = said;
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

// The clipboard is closed to pages from a file in some browsers; a selection is not.
async function put(content) {
  if (navigator.clipboard) return navigator.clipboard.writeText(content);
  const area = element("textarea", { value: content });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

// --- where a number comes from --------------------------------------------------------------------------------------

async function open(link) {
  const cell = link.closest("td");
  const row = cell.closest("tr");
  const heading = headings(cell.closest("table"))[cell.cellIndex];
  const found = await load("sources.js", "sources").then(
    (all) => ({ all, one: all.cells[`${cell.closest("section").id}/${row.dataset.r}/${heading.dataset.k}`] }),
    () => ({}),
  );
  if (!found.one) return void (location.href = link.href);
  const dialog = document.querySelector("dialog.sources");
  const close = element("button", { type: "button", className: "close", ariaLabel: "Close" }, "×");
  close.addEventListener("click", () => dialog.close());
  const title = element("h2", { id: "sources-title" }, `${text(row.cells[0].firstChild)}: ${text(heading)}`);
  const said = element("dl");
  for (const [what, value] of [["ours", text(link)], ...Object.entries(found.one.said)]) {
    said.append(element("dt", {}, what), element("dd", {}, value));
  }
  dialog.replaceChildren(close, title, said, runs(found.all, found.one));
  for (const n of found.one.protocols) {
    dialog.append(element("p", { className: "small" }, element("b", {}, "Protocol: "), found.all.protocols[n]));
  }
  dialog.showModal();
}

function runs(all, one) {
  const head = ["seed", "value", "run", "evaluation", "commit", "device"];
  const line = (texts, tag) => element("tr", {}, ...texts.map((each) => element(tag, {}, String(each))));
  const body = one.runs.map(([seed, value, run, evaluation, commit, device]) =>
    line([seed, value || "-", run || "-", evaluation, all.commits[commit], all.devices[device]], "td"));
  const table = element("table", {}, element("thead", {}, line(head, "th")), element("tbody", {}, ...body));
  return element("div", { className: "box", tabIndex: 0 }, table);
}

// --- search ---------------------------------------------------------------------------------------------------------

function search(box) {
  const [input, list] = [box.querySelector("input"), box.querySelector("ul")];
  box.hidden = false;
  input.addEventListener("focus", () => load(`${root}search.js`, "index"), { once: true });
  input.addEventListener("input", async () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const index = await load(`${root}search.js`, "index").catch(() => []);
    const found = words.length ? index.filter(([, label, where]) => {
      const all = `${label} ${where}`.toLowerCase();
      return words.every((word) => all.includes(word));
    }) : [];
    const lines = found.slice(0, 30).map(([kind, label, where, address]) => element("li", {},
      element("a", { href: root + address }, element("span", { className: "kind" }, kind), " " + label,
        element("small", {}, where))));
    if (words.length && !lines.length) lines.push(element("li", { className: "none" }, "Nothing found"));
    if (found.length > 30) lines.push(element("li", { className: "none" }, `and ${found.length - 30} more`));
    list.replaceChildren(...lines);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { input.value = ""; list.replaceChildren(); input.focus(); }
    const links = [...list.querySelectorAll("a")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !links.length) return;
    event.preventDefault();
    const next = links.indexOf(document.activeElement) + step;
    (links[next] ?? input).focus();
  });
  document.addEventListener("click", (event) => { if (!box.contains(event.target)) list.replaceChildren(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
      event.preventDefault();
      input.focus();
    }
  });
}

// --- dark and light -------------------------------------------------------------------------------------------------

function switchTheme() {
  const style = document.documentElement.style;
  const dark = style.colorScheme ? style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  style.colorScheme = dark ? "light" : "dark";
  try { localStorage.setItem("vaebench-theme", style.colorScheme); } catch { /* only for this page then */ }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.grid, table.claims").forEach(label);
  document.querySelectorAll("table.grid").forEach(setUp);
  search(document.querySelector(".search"));
  const button = document.querySelector("button.theme");
  button.hidden = false;
  button.addEventListener("click", switchTheme);
  const dialog = document.querySelector("dialog.sources");
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("table.grid td > a");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    open(link);
  });
});
