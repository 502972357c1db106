// What scrolls on this page can be scrolled with the keyboard, too.
const MAY_SCROLL = "article :is(table, .cell_output, .output, p:has(img), .figure-of-a-lesson)";

function letTheKeyboardScroll() {
  for (const box of document.querySelectorAll(MAY_SCROLL)) {
    if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "auto") box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

addEventListener("load", letTheKeyboardScroll);
addEventListener("resize", letTheKeyboardScroll);
