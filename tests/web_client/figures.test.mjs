// What the page tells of an answer: equal devices, pace, and who is awaited.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Figures, compared } from "../../bridge/web/figures.js";

const text = (text, state = "streaming") => ({ text, state });
const GROWING = { door: {} };
const ALONE = { door: { alone: true } };
const WHOLE = { door: {} };

test("devices that are at different words are in step, ones that say other words are not", () => {
  assert.deepEqual(compared([text("ab"), text("abc")], 2), { verdict: "growing", count: 2, of: 2 });
  assert.deepEqual(compared([text("ax"), text("abc")], 2), { verdict: "differ", count: 1, of: 2 });
});

test("devices are equal once all that are awaited have the end, and the same text", () => {
  const ended = [text("abc", "done"), text("abc", "done")];
  assert.equal(compared(ended, 3).verdict, "growing");
  assert.deepEqual(compared(ended, 2), { verdict: "equal", count: 2, of: 2 });
  assert.deepEqual(compared([text("abc", "done"), text("ab", "error")], 2), { verdict: "differ", count: 1, of: 2 });
});

/** The figures, with what each device shows at each moment: [ms, device, message]. */
function heard(devices, ...moments) {
  const figures = new Figures();
  const shown = new Map();
  figures.asked("r", 1000);
  for (const [at, device, message] of moments) {
    shown.set(device, { requestId: "r", messageId: "m", ...message });
    figures.heard(shown.get(device), devices, at);
  }
  return figures.latest(devices, (device) => shown.get(device));
}

test("first text counts from the question, the pace from the first text", () => {
  const latest = heard([GROWING], [1200, GROWING, text("one")], [1700, GROWING, text("one two three four")]);
  assert.deepEqual([latest.firstMs, latest.wordsPerS, latest.verdict], [200, 6, "growing"]);
});

test("a device that is told of whole answers only if they are its own is not awaited for one", () => {
  const done = text("abc", "done");
  assert.equal(heard([WHOLE, ALONE], [1200, WHOLE, done]).verdict, "equal");
  assert.equal(heard([WHOLE, GROWING], [1200, WHOLE, done]).verdict, "growing");
});
