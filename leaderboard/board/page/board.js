// Sorting, filtering, choosing. Without this script every row and image is there, rows in the order of the headline.
"use strict";
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    const raw = cell.dataset.value;
    return raw === undefined ? cell.textContent.trim().toLowerCase() : raw === "" ? null : Number(raw);
  };

  const sort = (table, column, descending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    rows.sort((x, y) => {
      const [p, q] = [value(x, column), value(y, column)];
      if (p === null || q === null) return (p === null) - (q === null); // what has no value stays last
      const order = typeof p === "number" && typeof q === "number" ? p - q : String(p).localeCompare(String(q));
      return descending ? -order : order;
    });
    body.append(...rows);
    [...table.tHead.rows[0].cells].forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const head = table.tHead.rows[0].cells[column];
    table.sortedBy = head.dataset.column + " " + (descending ? "descending" : "ascending");
  };

  for (const table of document.querySelectorAll("table.board")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.dataset.first) return;
      const button = document.createElement("button");
      button.type = "button";
      const label = head.querySelector(".label");
      button.textContent = label.textContent;
      button.title = "Sort by " + label.textContent;
      label.replaceWith(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        sort(table, column, now ? now === "ascending" : head.dataset.first === "descending");
        for (const other of document.querySelectorAll("table.board")) if (other !== table) delete other.sortedBy;
        document.dispatchEvent(new Event("sorted"));
      });
    });
  }

  // The gallery: which methods are shown stands in the address, so that a comparison can be handed on.
  const chooser = document.querySelector("form.chooser");
  if (chooser) {
    chooser.hidden = false;
    const boxes = [...chooser.querySelectorAll("input[name=method]")];
    const show = () => {
      const chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
      for (const figure of document.querySelectorAll("figure[data-method]")) figure.hidden = !chosen.has(figure.dataset.method);
      document.querySelector("#chosen").textContent = chosen.size + " of " + boxes.length + " shown";
      return chosen;
    };
    const wanted = /^#methods=([\w,-]*)$/.exec(location.hash);
    if (wanted) for (const box of boxes) box.checked = wanted[1].split(",").includes(box.value);
    const changed = () => history.replaceState(null, "", "#methods=" + [...show()].join(","));
    chooser.addEventListener("change", changed);
    for (const button of chooser.querySelectorAll("button[data-choose]")) {
      button.addEventListener("click", () => {
        for (const box of boxes) box.checked = button.dataset.choose === "all";
        changed();
      });
    }
    show();
  }

  const site = document.querySelectorAll("pre[data-site]");
  if (location.protocol.startsWith("http")) {
    const root = new URL("..", location.href).href.replace(/\/$/, "");
    for (const text of site) text.textContent = text.textContent.replaceAll("SITE", root);
  }

  const controls = document.querySelector("form.controls");
  if (!controls) return;
  controls.hidden = false;
  const said = document.querySelector("#shown");
  const tables = [...document.querySelectorAll("table.board")];
  const heads = (table) => [...table.tHead.rows[0].cells];

  // Columns: each main table has the same kinds; a choice holds for all of them.
  const columns = new Map(); // name -> whether it is shown from the start
  for (const table of tables) {
    if (table.hasAttribute("data-tiers")) continue;
    for (const head of heads(table).slice(1)) columns.set(head.dataset.column, !head.hasAttribute("data-more"));
  }
  const place = document.querySelector("#columns");
  for (const [name, shown] of columns) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.name = "column";
    box.value = name;
    box.defaultChecked = shown;
    box.checked = shown;
    label.append(box, " " + name);
    place.append(label);
  }
  const boxes = [...place.querySelectorAll("input")];
  const showColumns = () => {
    const chosen = new Map(boxes.map((box) => [box.value, box.checked]));
    for (const table of tables) {
      if (table.hasAttribute("data-tiers")) continue;
      heads(table).forEach((head, i) => {
        const hidden = i > 0 && chosen.get(head.dataset.column) === false;
        head.hidden = hidden;
        for (const row of table.tBodies[0].rows) row.cells[i].hidden = hidden;
      });
    }
  };

  const value_of = (name) => (controls.elements[name] ? controls.elements[name].value : "");
  const filter = () => {
    const words = controls.elements.words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const [track, prompt, base, licence] = ["track", "prompt", "base", "licence"].map(value_of);
    const [least, most] = value_of("size") ? value_of("size").split("-").map(Number) : [-1, Infinity];
    const compared = controls.elements.compared.checked;
    const best = controls.elements.best.checked;
    let shown = 0;
    let all = 0;
    for (const section of document.querySelectorAll("section[data-track]")) {
      const here = (!track || section.dataset.track === track) && (!prompt || section.dataset.prompt === prompt);
      section.hidden = !here;
      const first = new Map(); // the best row of each team, in the order of the headline
      section.querySelectorAll("table.board").forEach((table, n) => {
        for (const row of table.rowsAsMade) {
          const data = row.dataset;
          const size = Number(data.size);
          let fits = words.every((word) => data.words.includes(word)) && (compared || data.kind === "method");
          fits = fits && (!base || data.base === base) && (!licence || data.licence === licence);
          fits = fits && size > least && size <= most;
          if (fits && best && data.kind === "method") {
            const key = n + " " + data.team;
            if (first.has(key)) fits = false;
            else first.set(key, row);
          }
          row.hidden = !fits;
          if (n === 0) all += 1;
          if (n === 0 && fits && here) shown += 1;
        }
      });
    }
    said.textContent = shown === all ? all + " rows" : shown + " of " + all + " rows";
  };

  // The address holds the view, so that it can be handed on: filters, columns, and the sorting.
  const names = ["words", "track", "prompt", "base", "licence", "size"];
  const write = () => {
    const view = new URLSearchParams();
    for (const name of names) if (value_of(name)) view.set(name, value_of(name));
    if (!controls.elements.compared.checked) view.set("compared", "no");
    if (controls.elements.best.checked) view.set("best", "yes");
    if (boxes.some((box) => box.checked !== box.defaultChecked)) {
      view.set("columns", boxes.filter((box) => box.checked).map((box) => box.value).join(","));
    }
    const sorted = tables.find((table) => table.sortedBy);
    if (sorted) view.set("sort", sorted.sortedBy);
    const text = view.toString();
    history.replaceState(null, "", text ? "#view:" + text : location.pathname + location.search);
  };
  const read = () => {
    const given = /^#view:(.*)$/.exec(location.hash);
    if (!given) return;
    const view = new URLSearchParams(given[1]);
    for (const name of names) {
      const element = controls.elements[name];
      if (element && view.has(name)) element.value = view.get(name);
    }
    controls.elements.compared.checked = view.get("compared") !== "no";
    controls.elements.best.checked = view.get("best") === "yes";
    if (view.has("columns")) {
      const chosen = view.get("columns").split(",");
      for (const box of boxes) box.checked = chosen.includes(box.value);
    }
    if (view.has("sort")) {
      const [name, order] = view.get("sort").split(" ");
      for (const table of tables) {
        const at = heads(table).findIndex((head) => head.dataset.column === name);
        if (at >= 0) sort(table, at, order === "descending");
      }
    }
  };
  for (const table of tables) table.rowsAsMade = [...table.tBodies[0].rows];
  const update = () => { filter(); showColumns(); };
  read();
  update();
  controls.addEventListener("input", () => { update(); write(); });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(() => {
    for (const table of tables) {
      table.tBodies[0].append(...table.rowsAsMade);
      delete table.sortedBy;
      for (const head of heads(table)) head.removeAttribute("aria-sort");
    }
    update();
    write();
  }));
  document.addEventListener("sorted", write);
})();
