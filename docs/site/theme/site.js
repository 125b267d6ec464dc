// Boxes that scroll can be reached with the keyboard, too.
for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, figure.drawn")) {
  box.tabIndex = 0;
}
