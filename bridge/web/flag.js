// The switch of the flag, which follows what others do to it.

import { toast } from "/web/toasts.js";

const LOOK_MS = 2000;

async function asked(value) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ value, who: "the page", why: "its switch" });
  const answer = await fetch("/admin/flag", value ? { method: "PUT", headers, body } : {});
  if (!answer.ok) throw new Error(`the flag answered ${answer.status}`);
  return (await answer.json()).value;
}

export function flagged(button, label) {
  const show = (value) => {
    button.disabled = false;
    button.setAttribute("aria-checked", value !== "off");
    label.textContent = Number.isInteger(value) ? `Streaming in ${value} % of rooms` : "Streaming";
  };
  const unknown = () => (button.disabled = true); // its node is gone
  const look = () => asked().then(show, unknown);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-checked") === "true";
    asked(on ? "off" : "on").then(show, (error) => toast(error.message));
  });
  setInterval(look, LOOK_MS);
  look();
}
