"use strict";
// Below the pointer: the step, and the value of each line there.
const tip = document.getElementById("tip");
for (const chart of document.querySelectorAll(".chart svg")) {
  const cross = chart.querySelector(".cross");
  const lines = [...chart.querySelectorAll("[data-points]")].map((line) => ({
    name: line.dataset.name,
    colour: [...line.classList].find((word) => /^c\d$/.test(word)),
    points: line.dataset.points.split(" ").map((point) => point.split(",")),
  }));
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const far = (point) => Math.abs(point[0] - x);
    const near = lines.map((line) => line.points.reduce((best, point) => (far(point) < far(best) ? point : best)));
    if (!near.length) return;
    const nearest = near.reduce((best, point) => (far(point) < far(best) ? point : best));
    cross.removeAttribute("hidden");
    cross.setAttribute("x1", nearest[0]);
    cross.setAttribute("x2", nearest[0]);
    tip.replaceChildren();
    const row = (text, colour) => {
      const line = document.createElement("div");
      if (colour) {
        const dot = document.createElement("i");
        dot.className = "dot " + colour;
        line.append(dot);
      }
      line.append(text);
      tip.append(line);
    };
    row("step " + nearest[2]);
    lines.forEach((line, index) => row((lines.length > 1 ? line.name + " " : "") + near[index][3], line.colour));
    tip.hidden = false;
    const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
    tip.style.left = (right ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16) + "px";
    tip.style.top = Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 8) + "px";
  });
  chart.addEventListener("pointerleave", () => {
    cross.setAttribute("hidden", "");
    tip.hidden = true;
  });
}
