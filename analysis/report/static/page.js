"use strict";
/* What one does with the page: choose a network, set the least robust accuracy, look at one objective. */
(() => {
  const { data, points, index, column, figure, show } = Plots;
  const find = (name) => document.getElementById(name);
  const slider = find("least");
  let chosen;

  function element(kind, text, parent) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function choose(id, jump) {
    const i = index.get(id);
    if (i === undefined) return;
    chosen = id;
    history.replaceState(null, "", "#" + encodeURIComponent(id));
    for (const row of document.querySelectorAll("tr[data-id]")) row.classList.toggle("chosen", row.dataset.id === id);
    for (const button of document.querySelectorAll("button.pick")) button.setAttribute("aria-pressed", String(button.dataset.id === id));
    select.value = id;
    Plots.choose(i);
    tell(id, i);
    if (jump) find("detail").scrollIntoView({ block: "nearest" });
  }

  function tell(id, i) {
    const found = data.members[id];
    find("detail-title").textContent = `Trial ${id}` + (points.front[i] ? ", on the front" : ", not on the front");
    const list = find("detail-list");
    list.replaceChildren();
    const row = (name, text) => { element("dt", name, list); element("dd", text, list); };
    for (const [name, values] of Object.entries(points.metrics)) if (values[i] !== null) row(Plots.label(name) + (name.endsWith("_seconds") ? " of the last epoch" : ""), interval(name, id, figure(name, values[i])));
    for (const [name, values] of Object.entries(points.values)) if (values[i] !== null && !data.derived.includes(name)) row(name, show(values[i]));
    for (const [name, text] of found ? found.rows : []) {
      element("dt", name, list);
      element(name.endsWith("command") ? "code" : "span", text, element("dd", "", list));
    }
    find("detail-plots").hidden = !found;
    if (found) Plots.member(found);
  }

  function interval(name, id, text) {
    const found = (data.intervals[name] || {})[id];
    return found ? `${text} (95 % interval ${found[0].toFixed(3)} to ${found[1].toFixed(3)})` : text;
  }

  function restrict() {
    const least = Number(slider.value), metric = slider.dataset.metric;
    const name = Plots.label(metric);
    find("least-value").textContent = least.toFixed(3);
    const kept = points.id.map((_, i) => i).filter((i) => points.front[i] && column(metric)[i] >= least);
    const parts = [`${kept.length} of ${points.front.filter(Boolean).length} front members have at least ${least.toFixed(3)} ${name}`];
    for (const other of data.objectives.filter((one) => one !== metric)) {
      const sign = data.maximise[other] ? 1 : -1;
      const best = kept.reduce((a, b) => (a === undefined || sign * column(other)[b] > sign * column(other)[a] ? b : a), undefined);
      if (best !== undefined) parts.push(`best ${Plots.label(other)} among them: ${figure(other, column(other)[best])} (${points.id[best]})`);
    }
    find("least-words").textContent = parts.join("; ") + ".";
    const keeps = new Set(kept.map((i) => points.id[i]));
    for (const row of document.querySelectorAll("tr[data-id]")) row.classList.toggle("below", !keeps.has(row.dataset.id));
    Plots.fade(metric, bound());
  }

  /* Where the slider stands at first it has been asked for nothing: who is off the front may lie below. */
  const bound = () => (slider.value === slider.min ? null : Number(slider.value));

  function slices() {
    const select = find("slice-metric");
    if (!select) return;
    for (const box of document.querySelectorAll(".plot[data-x]")) if (box.id.startsWith("slice-")) box.dataset.metric = select.value;
    Plots.slices(select.value).forEach(listen);
    if (chosen) Plots.choose(index.get(chosen));
    if (slider) Plots.fade(slider.dataset.metric, bound());
  }

  function listen(box) {
    if (box.dataset.listens) return;
    box.dataset.listens = "yes";
    box.on("plotly_click", (event) => {
      const i = event.points[0].customdata;
      if (typeof i === "number") choose(points.id[i], false);
    });
  }

  function drawAll() {
    if (!points.id.length) return;
    Plots.cost();
    Plots.legend();
    Plots.pairs().forEach(listen);
    Plots.importance();
    Plots.parallel();
    if (find("parallel")) listen(find("parallel"));
    slices();
    Plots.differences();
    if (slider) restrict();
  }

  const select = find("trial");
  if (select) {
    for (const id of [...points.id].sort()) select.append(new Option(id + (points.front[index.get(id)] ? ", front" : ""), id));
    select.addEventListener("change", () => choose(select.value, false));
  }
  drawAll();
  for (const button of document.querySelectorAll("button.pick")) button.addEventListener("click", () => choose(button.dataset.id, true));
  if (slider) slider.addEventListener("input", restrict);
  if (find("slice-metric")) find("slice-metric").addEventListener("change", slices);
  const hash = location.hash.slice(1);
  choose(points.id.find((id) => [id, encodeURIComponent(id)].includes(hash)) ?? data.knee, false);
  Plots.dark.addEventListener("change", () => { drawAll(); if (chosen) choose(chosen, false); });
  document.documentElement.dataset.drawn = "yes";
})();
