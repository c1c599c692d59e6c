// A page of the console in a browser, as its tests use it.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { openBrowser } from './browser.mjs';

const kPatience = 60_000; // what is quick is not waited for
export const kPages = ['', '/pipelines', '/releases', '/logs', '/events', '/variables'];
export const kPhone = { width: 390, height: 844 };

let chromium;
before(async () => {
  chromium = await openBrowser();
});
after(() => chromium.close());

// A page that remembers what it complained about. `expected`: complaints that belong to the test.
export async function openPage(options = {}, context = null) {
  context ??= await chromium.browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(kPatience);
  page.complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('request', (request) => {
    const host = new URL(request.url()).host;
    if (page.ours && host !== page.ours) page.complaints.push(`asked ${host}`);
  });
  return page;
}
export const eventually = async (probe, what) => {
  const deadline = Date.now() + kPatience;
  let last;
  for (;;) {
    last = await probe();
    if (last) return last;
    if (Date.now() > deadline) assert.fail(`not within ${kPatience} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
};
export const text = (page, id) => page.getByTestId(id).innerText();
