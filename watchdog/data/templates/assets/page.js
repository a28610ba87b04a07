// Keeps a page that is already whole fresh: the server renders, this swaps the content in and counts the seconds.
"use strict";

(() => {
  const live = document.getElementById("live");
  const announce = document.getElementById("announce");
  const main = () => document.getElementById("main");
  let busy = false;
  let again = false;
  let over = false;
  let lastRefresh = 0;

  const span = (seconds) => {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  };

  // The server's clock may differ from this one: count from when each page said what time it was.
  let ahead = 0;
  const setClock = () => {
    const told = Date.parse(main().dataset.now);
    if (told) ahead = Math.abs(told - Date.now()) > 2000 ? told - Date.now() : 0;
  };
  const tick = () => {
    const now = Date.now() + ahead;
    for (const node of document.querySelectorAll("[data-until]")) {
      node.textContent = span((Date.parse(node.dataset.until) - now) / 1000);
    }
    for (const node of document.querySelectorAll("[data-since]")) {
      const age = (now - Date.parse(node.dataset.since)) / 1000;
      node.textContent = span(age);
      const banner = node.closest("[data-limit]");
      if (banner) banner.classList.toggle("stale", age > Number(banner.dataset.limit));
    }
  };

  const dress = () => {
    setClock();
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    for (const node of document.querySelectorAll("time[datetime]")) {
      node.title = `${new Date(node.dateTime).toLocaleString()} here`;
    }
    tick();
  };

  const say = (text, lost) => {
    live.hidden = false;
    live.textContent = text;
    live.classList.toggle("lost", lost);
  };

  const adopt = (html) => {
    const next = new DOMParser().parseFromString(html, "text/html");
    const fresh = next.getElementById("main");
    if (!fresh) return;
    const open = [...document.querySelectorAll("details[open]")].map((d) => d.id);
    const before = main().dataset.label;
    main().replaceWith(document.adoptNode(fresh));
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    document.title = next.title;
    const icon = document.querySelector("link[rel=icon]");
    const nextIcon = next.querySelector("link[rel=icon]");
    if (icon && nextIcon && icon.href !== nextIcon.href) icon.href = nextIcon.href;
    if (fresh.dataset.label && fresh.dataset.label !== before) announce.textContent = fresh.dataset.label;
    dress();
  };

  const refresh = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    try {
      const wait = 1000 - (Date.now() - lastRefresh);
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      lastRefresh = Date.now();
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.ok) adopt(await answer.text());
      say(answer.ok ? "live" : "the watchdog answers with an error", !answer.ok);
      if (over) live.hidden = true;
    } catch {
      say("connection lost: this page is as it was then", true);
    } finally {
      busy = false;
      if (again) refresh();
    }
  };

  const follow = (url) => {
    const source = new EventSource(url);
    source.addEventListener("open", () => {
      say("live", false);
      refresh();
    });
    source.addEventListener("change", refresh);
    source.addEventListener("end", () => {
      source.close();
      over = true;
      refresh();
    });
    source.addEventListener("error", () => {
      say("connection lost: trying again", true);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(url), 5000);
    });
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  dress();
  setInterval(tick, 1000);
  if (main().dataset.stream) follow(main().dataset.stream);
  else if (main().dataset.poll) {
    setInterval(() => { if (!document.hidden) refresh(); }, Number(main().dataset.poll) * 1000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  }
})();
