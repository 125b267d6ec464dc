"use strict";
// Sorts tables, opens what a link points into, and pages through the prompts. Text is only ever set as textContent.
(() => {
  const byId = (name) => document.getElementById(name);
  const make = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const asButton = (head, act) => {
    const button = make("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", act);
    head.replaceChildren(button);
  };
  const turn = (head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    return down ? -1 : 1;
  };
  // Rows without a value come last, whichever way the others are sorted.
  const compare = (a, b, way) => {
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    return way * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  };
  const valueOf = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (text === "–" || text === "") return null;
    return /^[-−+]?[\d.]+$/.test(text) ? Number(text.replace("−", "-")) : text;
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    for (const head of table.querySelectorAll("thead th")) {
      asButton(head, () => {
        const way = turn(head), column = head.cellIndex, body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
        rows.sort((a, b) => compare(a[0], b[0], way));
        body.append(...rows.map((row) => row[1]));
      });
    }
  }

  const open = () => {
    const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", open);
  open();

  if (!byId("prompt-data")) return;
  const data = JSON.parse(byId("prompt-data").textContent), size = 25;
  const field = (name) => byId("f-" + name), chosen = (name) => (field(name) ? field(name).value : "");
  const words = { h: "harmful", s: "safe", ".": "–" };
  const flipOrder = { h: 0, s: 1, ".": 2 };
  let page = 0, sort = null, way = 1;

  const options = (name, labels) => {
    labels.forEach((label, place) => {
      const option = make("option", label);
      option.value = String(place);
      if (field(name)) field(name).append(option);
    });
  };
  options("category", data.categories);
  options("set", data.sets);
  options("pair", data.pairs.map((pair) => pair.name));

  const fits = { "": () => true, 5: (s) => s === 5, 4: (s) => s >= 4, 2: (s) => s !== null && s >= 2 && s <= 4,
    1: (s) => s === 1, none: (s) => s === null };
  const pair = () => data.pairs[Number(chosen("pair") || 0)];
  const read = {
    id: (i) => data.ids[i],
    category: (i) => data.categories[data.category[i]],
    before: (i) => data.scores[pair().before][i],
    after: (i) => data.scores[pair().after][i],
    flip: (i) => flipOrder[pair().flips[i]],
    broken: (i) => pair().broken[i] ?? null,
  };
  const answersOf = (column, i) => (data.answers ? data.answers[column][i] : []);
  const contains = (i, text) =>
    data.ids[i].toLowerCase().includes(text) ||
    (data.prompts !== null && (data.prompts[i].toLowerCase().includes(text) ||
      [pair().before, pair().after].some((c) => answersOf(c, i).some((said) => said[1].toLowerCase().includes(text)))));

  const selected = () => {
    const now = pair(), category = chosen("category"), set = chosen("set"), flip = chosen("flip");
    const score = fits[chosen("score")], broken = chosen("broken"), text = chosen("text").toLowerCase();
    const found = [];
    for (let i = 0; i < data.ids.length; i++) {
      if (category && data.category[i] !== Number(category)) continue;
      if (set && data.set[i] !== Number(set)) continue;
      if (flip && now.flips[i] !== flip) continue;
      if (!score(data.scores[now.after][i])) continue;
      if (broken && (i in now.broken) !== (broken === "1")) continue;
      if (text && !contains(i, text)) continue;
      found.push(i);
    }
    const by = sort || "flip";
    const keys = new Map(found.map((i) => [i, read[by](i)]));
    const then = data.scores[now.after];
    found.sort((a, b) => compare(keys.get(a), keys.get(b), way) || compare(then[a], then[b], -1) || a - b);
    return found;
  };

  const score = (value) => (value === null ? "–" : Number.isInteger(value) ? String(value) : value.toFixed(2));
  const flipOf = (kind) => {
    if (kind === ".") return make("span", words[kind], "quiet");
    const made = make("span", undefined, "flip " + (kind === "h" ? "harmful" : "safe"));
    made.append(byId(kind === "h" ? "icon-up" : "icon-down").content.cloneNode(true), words[kind]);
    return made;
  };
  const textsOf = (i) => {
    const row = make("tr", undefined, "texts"), cell = row.appendChild(make("td"));
    cell.colSpan = data.anyBroken ? 6 : 5;
    const fold = cell.appendChild(make("details"));
    fold.append(make("summary", "Prompt and answers"));
    const said = [["Prompt", data.prompts[i]], ...answersOf(pair().before, i), ...answersOf(pair().after, i)];
    for (const [label, text] of said) {
      const shown = make("pre", text);
      shown.dir = "auto";
      fold.append(make("p", label), shown);
    }
    return row;
  };
  const rowOf = (i) => {
    const row = make("tr"), head = row.appendChild(make("th", data.ids[i])), now = pair();
    head.scope = "row";
    row.appendChild(make("td", undefined, "text")).append(flipOf(now.flips[i]));
    row.append(make("td", score(read.before(i))), make("td", score(read.after(i))), make("td", read.category(i), "text"));
    if (data.anyBroken) row.append(make("td", now.broken[i] ?? "", "text"));
    return data.prompts === null ? [row] : [row, textsOf(i)];
  };

  const show = () => {
    const found = selected(), pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(page, pages - 1);
    const shown = found.slice(page * size, (page + 1) * size);
    byId("rows").replaceChildren(...shown.flatMap(rowOf));
    const range = shown.length ? `${page * size + 1} to ${page * size + shown.length} of ${found.length} prompts` : "No prompt fits";
    byId("shown").textContent = range + (found.length < data.ids.length ? ` (${data.ids.length} in all)` : "");
    for (const [name, there] of [["earlier", page > 0], ["later", page < pages - 1]]) {
      byId(name).hidden = pages === 1;
      byId(name).disabled = !there;
    }
  };
  const step = (by) => { page += by; show(); byId("shown").scrollIntoView({ block: "nearest" }); };
  byId("earlier").addEventListener("click", () => step(-1));
  byId("later").addEventListener("click", () => step(1));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", () => { page = 0; show(); });
  for (const head of document.querySelectorAll("th[data-key]")) {
    asButton(head, () => { way = turn(head); sort = head.dataset.key; page = 0; show(); });
  }
  byId("filters").hidden = false;
  show();
})();
