"use strict";
/* The list of trials, and what is known of the chosen one. */
(() => {
  const { data, points, index, colours, SYMBOLS, label, show, figure, whole } = Plots;
  const own = data.sections.network;
  const find = (name) => document.getElementById(name);
  const select = find("trial");

  function element(kind, text, parent) {
    const made = document.createElement(kind);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function choose(id, i, jump) {
    select.value = id;
    const found = own.members[id];
    find("detail-title").textContent = `Trial ${id}` + (points.front[i] ? ", on the front" : ", not on the front");
    const list = find("detail-list");
    list.replaceChildren();
    const row = (name, text) => { element("dt", name, list); element("dd", text, list); };
    for (const [name, values] of Object.entries(points.metrics)) if (values[i] !== null) row(label(name) + (name.endsWith("_seconds") ? " of the last epoch" : ""), interval(name, id, figure(name, values[i])));
    for (const [name, values] of Object.entries(points.values)) if (values[i] !== null && !own.derived.includes(name)) row(name, show(values[i]));
    for (const [name, text] of found ? found.rows : []) {
      element("dt", name, list);
      element(name.endsWith("command") ? "code" : "span", text, element("dd", "", list));
    }
    find("detail-plots").hidden = !found;
    if (found) plots(found);
    if (jump) find("detail").scrollIntoView({ block: "nearest" });
  }

  function interval(name, id, text) {
    const found = (data.intervals[name] || {})[id];
    return found ? `${text} (95 % interval ${found[0].toFixed(3)} to ${found[1].toFixed(3)})` : text;
  }

  /* The plots of one network: its curves, and the norms of its channels. */
  function plots(found) {
    const { epoch, images, ...curves } = found.curves;
    const lines = Object.entries(curves), whole_ = own.validation;
    find("curves-note").hidden = images.every((count) => count === whole_);
    Plots.draw("curves", lines.map(([name, y], k) => ({ type: "scatter", mode: "lines+markers", name: label(name), x: epoch, y,
      line: { color: colours()[k] }, customdata: images,
      marker: { size: 7, symbol: epoch.map((_, i) => SYMBOLS[k] + (name.endsWith("accuracy") && images[i] < whole_ ? "-open" : "")) },
      hovertemplate: `${label(name)} %{y:.3f} after epoch %{x}${name.endsWith("accuracy") ? ", of %{customdata} images" : ""}<extra></extra>` })),
      { showlegend: true, xaxis: { title: { text: "epoch" }, dtick: epoch.length < 12 ? 1 : undefined }, yaxis: { range: [-0.03, 1.03] } });
    find("norms").hidden = !found.histogram;
    if (found.histogram) {
      const { labels, counts, zero } = found.histogram;
      Plots.draw("norms", [{ type: "bar", x: ["0", ...labels], y: [zero, ...counts], marker: { color: [colours()[1], ...counts.map(() => colours()[0])] },
        hovertemplate: "%{y} channels with norm %{x}<extra></extra>" }],
        { xaxis: { title: { text: "norm of input channel" }, type: "category" }, yaxis: whole("channels", [zero, ...counts]), bargap: 0.05 });
    }
  }

  for (const id of [...points.id].sort()) select.append(new Option(id + (points.front[index.get(id)] ? ", front" : ""), id));
  select.addEventListener("change", () => Page.choose(select.value, false));
  Page.section({ choose, first: own.first });
})();
