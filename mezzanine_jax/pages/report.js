"use strict";
// Shows the examples that hold every word that is looked for.
(() => {
  const box = document.getElementById("search");
  if (!box) return;
  const count = document.getElementById("count");
  const found = [...document.querySelectorAll(".example")];
  const texts = found.map((example) => example.textContent.toLowerCase());
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    found.forEach((example, i) => {
      example.hidden = !words.every((word) => texts[i].includes(word));
      shown += !example.hidden;
    });
    count.textContent = `${shown} of ${found.length}`;
  };
  box.addEventListener("input", filter);
  box.closest("p").hidden = false;
  filter();
})();
