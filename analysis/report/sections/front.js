"use strict";
/* The scatter plots of pairs of objectives, and the slider for the minimum of a metric. */
(() => {
  const { data, points, all, column, pick, css, label, figure, scatter, windowOf } = Plots;
  const own = data.sections.front;
  const find = (name) => document.getElementById(name);
  const slider = find("least");

  function stairs(x, y) {
    const up = (name) => (data.maximise[name] ? 1 : -1);
    const sorted = all.filter((i) => column(x)[i] !== null && column(y)[i] !== null)
      .sort((a, b) => up(x) * (column(x)[b] - column(x)[a]) || up(y) * (column(y)[b] - column(y)[a]));
    const best = [];
    let top = -Infinity;
    for (const i of sorted) if (up(y) * column(y)[i] > top) { top = up(y) * column(y)[i]; best.push(i); }
    return { type: "scatter", mode: "lines", name: "front of the pair", hoverinfo: "skip", showlegend: false,
      x: pick(column(x), best), y: pick(column(y), best),
      line: { shape: "hv", dash: "dot", width: 1, color: css("--soft") } };
  }

  function paper(x, y) {
    const rows = own.paper.filter((row) => x in row && y in row);
    if (!rows.length) return [];
    return [{ type: "scatter", mode: "markers", name: "the paper's rows", text: rows.map((row) => row.label),
      x: rows.map((row) => row[x]), y: rows.map((row) => row[y]), hovertemplate: "paper: %{text}<extra></extra>",
      marker: { symbol: "star-open", size: 9, color: css("--soft") } }];
  }

  function attained(x, y) {
    const found = data.attainment.find((one) => one.x === x && one.y === y);
    return !found ? [] : found.surfaces.map((surface) => ({
      type: "scatter", mode: "lines", name: `${surface.level} % of seed sets`, hoverinfo: "skip",
      x: surface.x, y: surface.y, line: { width: surface.level === 50 ? 2.5 : 1.2, color: css("--accent") },
    }));
  }

  function draw() {
    own.pairs.map(([x, y], i) => scatter(`pair-${i}`, x, y, {
      x: windowOf(x), y: windowOf(y), traces: [stairs(x, y), ...attained(x, y), ...paper(x, y)],
    })).forEach(Page.listen);
    if (slider) restrict();
  }

  /* At its lowest position the slider excludes nothing: networks off the front may lie below it. */
  const bound = () => (slider.value === slider.min ? null : Number(slider.value));

  /* Which front members reach the slider's value: says so, and fades the others in the table and the plots. */
  function restrict() {
    const least = Number(slider.value), metric = slider.dataset.metric;
    find("least-value").textContent = least.toFixed(3);
    const kept = all.filter((i) => points.front[i] && column(metric)[i] >= least);
    const parts = [`${kept.length} of ${points.front.filter(Boolean).length} front members have at least ${least.toFixed(3)} ${label(metric)}`];
    for (const other of data.objectives.filter((one) => one !== metric)) {
      const sign = data.maximise[other] ? 1 : -1;
      const best = kept.reduce((a, b) => (a === undefined || sign * column(other)[b] > sign * column(other)[a] ? b : a), undefined);
      if (best !== undefined) parts.push(`best ${label(other)} among them: ${figure(other, column(other)[best])} (${points.id[best]})`);
    }
    find("least-words").textContent = parts.join("; ") + ".";
    const keeps = new Set(kept.map((i) => points.id[i]));
    for (const row of document.querySelectorAll("tr[data-id]")) row.classList.toggle("below", !keeps.has(row.dataset.id));
    Plots.fade(metric, bound());
  }

  function choose(id) {
    for (const row of document.querySelectorAll("tr[data-id]")) row.classList.toggle("chosen", row.dataset.id === id);
    for (const button of document.querySelectorAll("button.pick")) button.setAttribute("aria-pressed", String(button.dataset.id === id));
  }

  for (const button of document.querySelectorAll("button.pick")) button.addEventListener("click", () => Page.choose(button.dataset.id, true));
  if (slider) slider.addEventListener("input", restrict);
  Page.section({ draw, choose, fade: () => { if (slider) Plots.fade(slider.dataset.metric, bound()); } });
})();
