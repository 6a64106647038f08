"use strict";
/* Hypervolume against epochs and hours; the number of trials by their last epoch. */
(() => {
  const { colours, whole } = Plots;
  const own = Plots.data.sections.cost;

  function draw() {
    const { epochs, hours, volume } = own.hypervolume;
    const shapes = { line: { shape: "hv", color: colours()[0], width: 2.5 }, type: "scatter", mode: "lines" };
    for (const [name, x, title] of [["cost-epochs", epochs, "epochs run"], ["cost-hours", hours, "hours of training and evaluation"]]) {
      Plots.draw(name, [{ ...shapes, x, y: volume, hovertemplate: `%{x:.4g} ${title}<br>hypervolume %{y:.4f}<extra></extra>` }],
        { xaxis: { ...whole(title, name === "cost-epochs" ? x : [Infinity]), rangemode: "tozero", exponentformat: "none" }, yaxis: { title: { text: "hypervolume" }, rangemode: "tozero" } });
    }
    Plots.draw("ends", [{ type: "bar", width: own.ends.epoch.length < 15 ? 0.8 : undefined, x: own.ends.epoch, y: own.ends.count, marker: { color: colours()[0] },
      hovertemplate: "%{y} trials ended after epoch %{x}<extra></extra>" }],
      { xaxis: { title: { text: "last epoch" }, dtick: own.ends.epoch.length < 15 ? 1 : undefined }, yaxis: whole("trials", own.ends.count), bargap: 0.15 });
  }

  Page.section({ draw });
})();
