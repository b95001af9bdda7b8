"use strict";
// A click on a heading sorts its table by that column: numbers by value, text by name, empty cells last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const key = (row, i) => {
    const cell = row.cells[i];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
  };
  headings.forEach((heading, i) => {
    heading.querySelector("button").addEventListener("click", () => {
      const rows = Array.from(body.rows);
      const numbers = rows.some((row) => typeof key(row, i) === "number");
      const was = heading.getAttribute("aria-sort");
      const descending = was === "none" ? numbers : was === "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const known = rows.filter((row) => (typeof key(row, i) === "number") === numbers);
      const others = rows.filter((row) => !known.includes(row));
      known.sort((a, b) => {
        const [x, y] = [key(a, i), key(b, i)];
        const order = numbers ? x - y : x.localeCompare(y);
        return descending ? -order : order;
      });
      body.append(...known, ...others);
    });
  });
}
