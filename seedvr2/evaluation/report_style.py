"""How the HTML report looks, on a screen of any width, in the dark and on paper; and the sorting of its tables."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #5c6570; --line: #d9dee4; --band: #f5f7f9;
  --accent: #0b5cad; --best: #0a6b3d; --warn-page: #fff3d6; --warn-ink: #6b4400; --foreign: #eef1f6;
  --line-0: #0b5cad; --line-1: #c2410c; --line-2: #0a7d4f; --line-3: #8b3fb0; --line-4: #a16207; --line-5: #0e7490; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15181c; --ink: #e4e8ec; --soft: #9aa4af; --line: #353c44; --band: #1d2126; --accent: #78b4f5;
    --best: #6fd6a2; --warn-page: #3a2d0c; --warn-ink: #ffdf9a; --foreign: #20262e;
    --line-0: #78b4f5; --line-1: #fb9a62; --line-2: #5fd3a0; --line-3: #cf9bea; --line-4: #e2bd55; --line-5: #5cc8de; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .5rem; border-top: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
nav { font-size: .9rem; margin: 1rem 0; } nav a { display: inline-block; margin-right: 1rem; color: var(--accent); }
.banner { background: var(--warn-page); color: var(--warn-ink); border-left: .3rem solid currentColor;
  padding: .6rem .9rem; margin: .75rem 0; font-weight: 600; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: .87rem; margin: .35rem 0; max-width: 60rem; }
.wide { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .2rem 0 .3rem; white-space: nowrap; }
th, td { padding: .3rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; background: var(--band); font-weight: 600; font-size: .87rem; max-width: 12rem;
  overflow-wrap: break-word; }
tbody th, thead th:first-child { text-align: left; font-weight: 500; position: sticky; left: 0; background: var(--page);
  min-width: 7rem; max-width: 16rem; overflow-wrap: break-word; }
thead th:first-child { background: var(--band); }
td.text, th.text { text-align: left; overflow-wrap: anywhere; }
td.text { min-width: 8rem; } td:not(.text) { white-space: nowrap; }
.prose td.text { min-width: 6rem; } .prose td.text:last-child { min-width: 12rem; }
.prose { width: 100%; } .conditions td { font-family: ui-monospace, Menlo, "DejaVu Sans Mono", monospace;
  font-size: .85rem; min-width: 14rem; }
td small { display: block; color: var(--soft); font-size: .75rem; white-space: nowrap; font-weight: 400; }
.best { font-weight: 700; color: var(--best); }
.foreign { background: var(--foreign); color: var(--soft); }
.sortable thead th { cursor: pointer; } .sortable thead th:hover { color: var(--accent); }
th[aria-sort=ascending]::after { content: " ▲"; } th[aria-sort=descending]::after { content: " ▼"; }
details { margin: .5rem 0; } summary { cursor: pointer; font-weight: 600; color: var(--accent); }
.strip { display: flex; flex-wrap: wrap; gap: .6rem; margin: .3rem 0 1rem; }
figure { margin: 0; flex: 0 1 auto; max-width: 100%; }
figure img { display: block; max-width: 100%; height: auto; min-width: 8rem; }
.strip figure img { max-height: 22rem; max-width: min(100%, 22rem); }
.profile figure { flex-basis: 100%; } .profile figure img { max-width: 100%; max-height: none; }
figcaption { font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; max-width: 22rem; }
.missing { padding: 2rem 1rem; border: 1px dashed var(--line); color: var(--soft); font-size: .82rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } .charts svg { width: 22rem; max-width: 100%; height: auto; }
.key span { display: inline-block; margin-right: 1.2rem; } .key svg { width: 28px; height: 10px; }
svg text { fill: var(--ink); font-size: 11px; } svg .axis { stroke: var(--line); fill: none; }
svg .curve { fill: none; stroke-width: 2; }
@media (max-width: 40rem) { body { font-size: 14px; padding-inline: .6rem; } th, td { padding: .25rem .45rem; }
  tbody th, thead th:first-child { max-width: 8rem; } .strip figure { flex-basis: calc(50% - .3rem); } }
@media print {
  :root { color-scheme: light; --page: #fff; --ink: #000; --soft: #444; --line: #bbb; --band: #f2f2f2; --accent: #000;
    --best: #000; --warn-page: #fff; --warn-ink: #000; --foreign: #f4f4f4; --line-0: #0b5cad; --line-1: #c2410c;
    --line-2: #0a7d4f; --line-3: #8b3fb0; --line-4: #a16207; --line-5: #0e7490; }
  body { max-width: none; padding: 0; font-size: 9pt; } nav { display: none; } .wide { overflow: visible; }
  th, td { padding: .12rem .3rem; } tbody th, thead th:first-child { position: static; }
  tr, .strip, .banner { break-inside: avoid; } h2, h3, h3 + .note, caption { break-after: avoid; }
}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => {
      const cell = row.cells[column];
      return cell.dataset.order === undefined ? cell.textContent : Number(cell.dataset.order);
    };
    const compare = (a, b) => typeof a === "number" && typeof b === "number"
      ? (isNaN(a) ? 1 : isNaN(b) ? -1 : (down ? b - a : a - b))
      : (down ? -1 : 1) * String(a).localeCompare(String(b), undefined, {numeric: true});
    const rows = [...table.tBodies[0].rows].sort((a, b) => compare(value(a), value(b)));
    table.tBodies[0].append(...rows);
  }));
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
"""
