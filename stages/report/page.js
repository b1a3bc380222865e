// Tables that a head sorts, and a legend that brings lines out.
{
  const valueOf = cell => { // a number, a text, or null where there is none
    const text = (cell?.dataset.value ?? cell?.textContent ?? "").trim();
    return text === "" || text === "–" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };

  const sort = (head, place) => {
    const table = head.closest("table"), body = table.tBodies[0];
    const groups = []; // a row, and those of its raw pixels, which stay under it
    for (const row of body.rows) row.classList.contains("raw") ? groups.at(-1).push(row) : groups.push([row]);
    const rated = groups.map(rows => [valueOf(rows[0].cells[place]), rows]);
    const first = rated.some(([value]) => typeof value === "number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of table.querySelectorAll("th")) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const byValue = (a, b) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)); // absent: last
    rated.sort(([a], [b]) => byValue(a, b));
    body.append(...rated.flatMap(([, rows]) => rows));
  };

  for (const table of document.querySelectorAll("table.sort")) {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      head.querySelector("button").addEventListener("click", () => sort(head, place));
    });
  }

  const names = document.querySelectorAll(".legend button");
  for (const name of names) name.addEventListener("click", () => {
    const on = name.getAttribute("aria-pressed") !== "true";
    for (const other of names) other.setAttribute("aria-pressed", on && other === name);
    document.querySelector(".charts").classList.toggle("focus", on);
    for (const line of document.querySelectorAll(".line")) {
      line.classList.toggle("on", on && line.dataset.run === name.dataset.run);
    }
  });
}
