// What the theme leaves out for those who use a keyboard or a screen reader.
const BOXES = ".md-typeset__scrollwrap, .md-typeset pre > code, figure.drawn";

function mend() {
  for (const box of document.querySelectorAll(BOXES)) if (box.tabIndex !== 0) box.tabIndex = 0; // boxes that may scroll
  for (const buttons of document.querySelectorAll("nav.md-code__nav:not([role])")) buttons.setAttribute("role", "none");
  for (const part of document.querySelectorAll("nav.md-nav[aria-labelledby]")) {
    const label = document.getElementById(part.getAttribute("aria-labelledby"));
    part.setAttribute("aria-label", `Pages: ${label?.textContent.trim()}`);
    part.removeAttribute("aria-labelledby");
  }
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
}

mend();
// The theme adds its buttons later, and takes the tab stop away from code that it thinks does not scroll.
new MutationObserver(mend).observe(document.body, {childList: true, subtree: true, attributeFilter: ["tabindex"]});
