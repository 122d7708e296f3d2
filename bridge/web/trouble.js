// Buttons that cause trouble on purpose. `python -m bridge demo` offers it, and names its address in the page's.

import { toast } from "/web/toasts.js";

async function asked(address, path = "", method = "GET") {
  const answer = await fetch(`${address}/trouble${path}`, { method });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error.message);
  return told;
}

/** Counts a stall down on its button. */
function countDown(button, seconds) {
  const words = button.textContent;
  let left = seconds;
  button.disabled = true;
  const tick = () => {
    button.textContent = left > 0 ? `Stalled: ${left} s` : words;
    button.disabled = left > 0;
    if (left-- > 0) setTimeout(tick, 1000);
  };
  tick();
}

export async function troubled(address, { group, stall, kill }) {
  const show = ({ nodes }) => {
    group.hidden = false;
    kill.hidden = kill.hidden && nodes < 2; // once shown it stays, to say that one node is left
    kill.disabled = nodes < 2;
  };
  const failed = (error) => toast(error.message);
  stall.addEventListener("click", () =>
    asked(address, "/stall", "POST").then(({ stallSeconds }) => countDown(stall, stallSeconds), failed));
  kill.addEventListener("click", () =>
    asked(address, "/kill", "POST").then((told) => (show(told), toast(`Node ${told.killed} was killed`)), failed));
  await asked(address).then(show, () => {}); // nobody offers any
}
