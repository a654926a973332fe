/**
 * What the status pages do in a browser: put in place what the server rendered afresh, send forms without leaving
 * the page, copy the join link, take files that are dropped. Without it the pages can be read all the same.
 */

export const pageScript = `"use strict";
{
  const told = document.getElementById("told");
  let silence;
  const tell = (text, stays) => {
    clearTimeout(silence);
    told.textContent = text;
    if (!stays) silence = setTimeout(() => { told.textContent = ""; }, 6000);
  };

  // Only what differs is changed, so that focus, selection and clicks survive.
  const patch = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== 1 || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const wanted = [...fresh.childNodes];
    const there = [...old.childNodes];
    wanted.forEach((node, at) => there[at] ? patch(there[at], node) : old.append(node));
    there.slice(wanted.length).forEach((node) => node.remove());
  };

  const live = document.getElementById("live");
  const events = new EventSource(document.body.dataset.events + location.search);
  events.addEventListener("open", () => { live.textContent = "live"; });
  events.addEventListener("error", () => { live.textContent = "not connected, trying again"; });
  events.addEventListener("part", (event) => {
    const { id, html } = JSON.parse(event.data);
    const old = document.getElementById(id);
    const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    if (old && fresh) patch(old, document.adoptNode(fresh));
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    const button = event.submitter;
    if (button) button.disabled = true;
    try {
      const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!response.ok) tell(await response.text());
    } catch {
      tell("The peer doesn't answer.");
    }
    if (button) setTimeout(() => { button.disabled = false; }, 1000);
  });

  document.addEventListener("click", async (event) => {
    const copied = event.target.closest("[data-copy]")?.dataset.copy;
    if (!copied) return;
    try {
      await navigator.clipboard.writeText(copied);
      tell("Copied.");
    } catch {
      tell("The browser doesn't allow it: select the link and copy it.");
    }
  });

  const drop = document.getElementById("drop");
  const send = (file) => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", "files?name=" + encodeURIComponent(file.name));
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => {
      tell("Sharing " + file.name + ": " + Math.floor(100 * loaded / Math.max(total, 1)) + "%", true);
    };
    request.onload = () => {
      tell(request.responseText);
      resolve();
    };
    request.onerror = () => {
      tell("Sharing " + file.name + " failed.");
      resolve();
    };
    request.send(file);
  });
  const share = async (files) => {
    for (const file of files) await send(file);
  };
  if (drop) {
    const input = drop.querySelector("input");
    input.addEventListener("change", async () => {
      await share([...input.files]);
      input.value = "";
    });
    const over = (is) => (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", is);
    };
    document.addEventListener("dragover", over(true));
    document.addEventListener("dragleave", over(false));
    document.addEventListener("drop", (event) => {
      over(false)(event);
      void share([...event.dataTransfer?.files ?? []]);
    });
  }
}
`;
