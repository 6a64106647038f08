"use strict";
/* What the sections' scripts share: the chosen network, and when plots are drawn. */
const Page = (() => {
  const { points, index } = Plots;
  const sections = [];
  let chosen;

  /* Registers a section. All of its members are optional: draw(), choose(id, i, jump), fade(), first (a trial). */
  const section = (made) => sections.push(made);

  /* Has every section show a trial; `jump` scrolls to its details. */
  function choose(id, jump) {
    const i = index.get(id);
    if (i === undefined) return;
    chosen = id;
    history.replaceState(null, "", "#" + encodeURIComponent(id));
    Plots.ring(i);
    for (const one of sections) if (one.choose) one.choose(id, i, jump);
  }

  /* Has a click on a network in a plot choose it. */
  function listen(box) {
    if (box.dataset.listens) return;
    box.dataset.listens = "yes";
    box.on("plotly_click", (event) => {
      const i = event.points[0].customdata;
      if (typeof i === "number") choose(points.id[i], false);
    });
  }

  /* After plots were drawn again: the ring of the chosen network, and what is faded. */
  function restore() {
    if (chosen) Plots.ring(index.get(chosen));
    for (const one of sections) if (one.fade) one.fade();
  }

  function draw() {
    Plots.legend();
    for (const one of sections) if (one.draw) one.draw();
    restore();
  }

  function start() {
    draw();
    const hash = location.hash.slice(1);
    const first = sections.map((one) => one.first).find((id) => id);
    choose(points.id.find((id) => [id, encodeURIComponent(id)].includes(hash)) ?? first, false);
    Plots.dark.addEventListener("change", () => { draw(); if (chosen) choose(chosen, false); });
    document.documentElement.dataset.drawn = "yes";
  }

  return { section, choose, listen, restore, start };
})();
