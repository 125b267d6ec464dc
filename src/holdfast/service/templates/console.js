// What moves on the page is fetched again every two seconds, unless somebody is about to use it.
"use strict";
(() => {
  const live = () => document.getElementById("live");
  const busy = () => live().contains(document.activeElement) && document.activeElement.matches("input, button, summary, a");
  const renew = async () => {
    if (live().dataset.moving === "yes" && !document.hidden && !busy()) {
      try {
        const answer = await fetch(location.pathname, { credentials: "same-origin" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("live");
        if (answer.ok && fresh && !busy()) live().replaceWith(document.adoptNode(fresh));
      } catch { /* the service may be starting again: the next try tells */ }
    }
    setTimeout(renew, 2000);
  };
  setTimeout(renew, 2000);
})();
