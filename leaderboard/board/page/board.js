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

  const controls = document.querySelector("form.controls");
  if (!controls) return;
  controls.hidden = false;
  const said = document.querySelector("#shown");
  const filter = () => {
    const words = controls.elements.words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const track = controls.elements.track ? controls.elements.track.value : "";
    const prompt = controls.elements.prompt ? controls.elements.prompt.value : "";
    const compared = controls.elements.compared.checked;
    let shown = 0;
    let all = 0;
    for (const section of document.querySelectorAll("section[data-track]")) {
      const here = (!track || section.dataset.track === track) && (!prompt || section.dataset.prompt === prompt);
      section.hidden = !here;
      section.querySelectorAll("table.board").forEach((table, n) => {
        for (const row of table.tBodies[0].rows) {
          const fits = words.every((word) => row.dataset.words.includes(word)) && (compared || row.dataset.kind === "method");
          row.hidden = !fits;
          if (n === 0) all += 1;
          if (n === 0 && fits && here) shown += 1;
        }
      });
    }
    said.textContent = shown === all ? all + " rows" : shown + " of " + all + " rows";
  };
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(filter));
  filter();
})();
