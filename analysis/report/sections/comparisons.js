"use strict";
/* Where in the plane of two objectives one of two sides is attained more often. */
(() => {
  const { colours, label, windowOf } = Plots;
  const own = Plots.data.sections.comparisons;

  /* Each place where one side is attained more often is a rectangle in the colour of that side. */
  function draw() {
    own.differences.forEach((one, i) => {
      const axes = [windowOf(one.x), windowOf(one.y)];
      const inside = (value, axis, end) => value ?? axes[axis].range[end] + (end ? 1 : -1);
      const shapes = one.places.map(([left, right, low, high, share]) => ({
        type: "rect", x0: inside(left, 0, 0), x1: inside(right, 0, 1), y0: inside(low, 1, 0), y1: inside(high, 1, 1),
        fillcolor: colours()[share > 0 ? 0 : 1], opacity: Math.min(1, 0.15 + 0.75 * Math.abs(share)), line: { width: 0 }, layer: "below",
      }));
      const key = one.names.map((name, k) => ({ type: "scatter", mode: "markers", name, x: [null], y: [null], showlegend: true,
        marker: { symbol: "square", size: 12, color: colours()[k] } }));
      Plots.draw(`difference-${i}`, key, { shapes, showlegend: true, xaxis: { title: { text: label(one.x) }, ...axes[0] }, yaxis: { title: { text: label(one.y) }, ...axes[1] } });
    });
  }

  Page.section({ draw });
})();
