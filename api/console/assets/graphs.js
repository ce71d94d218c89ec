// Draws how a chain was doing: head, lag and detection latency over the last hours.
const section = document.getElementById("graphs");
const style = getComputedStyle(document.documentElement);
const ink = style.getPropertyValue("--quiet").trim();
const stroke = style.getPropertyValue("--accent").trim();
const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };

const { points } = await (await fetch(section.dataset.stats)).json();
const at = points.map((point) => Date.parse(point.at) / 1000);
for (const figure of section.querySelectorAll("figure")) {
  const name = figure.dataset.graph;
  const axis = { stroke: ink, grid, ticks: grid };
  new window.uPlot(
    {
      title: figure.getAttribute("aria-label"),
      width: Math.max(280, figure.clientWidth),
      height: 180,
      axes: [axis, { ...axis, size: 80 }],
      series: [{}, { label: name, stroke, width: 2, spanGaps: name !== "head" }],
    },
    [at, points.map((point) => point[name])],
    figure,
  );
}
