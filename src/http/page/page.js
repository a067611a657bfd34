// The page is fetched again and put in place of itself: what is open stays open, and nothing flickers.
const PAUSE = 2000;
async function renew() {
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = document.activeElement?.id;
    for (const it of document.querySelectorAll("details")) {
      next.getElementById(it.id)?.toggleAttribute("open", it.open);
    }
    document.querySelector("main").replaceWith(next.querySelector("main"));
    document.title = next.title;
    if (focused) document.getElementById(focused)?.focus();
    document.body.classList.remove("silent");
  } catch {
    document.body.classList.add("silent");
  }
  setTimeout(renew, document.hidden ? 15000 : PAUSE);
}
setTimeout(renew, PAUSE);
