"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      // scores first from the top: a first click on a column of numbers sorts it downwards
      const isNumber = header.classList.contains("n");
      const now = header.getAttribute("aria-sort");
      const next = now === null ? (isNumber ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        // what does not exist stays at the end in both directions
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (isNumber ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
      });
      body.append(...rows);
    });
  });
}
const search = document.getElementById("search");
const dataset = document.getElementById("dataset");
function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("#cells tbody tr")) {
    const text = row.textContent.toLowerCase();
    const fits = !dataset.value || row.dataset.dataset === dataset.value;
    row.hidden = !(fits && words.every((word) => text.includes(word)));
  }
}
search?.addEventListener("input", show);
dataset?.addEventListener("change", show);
