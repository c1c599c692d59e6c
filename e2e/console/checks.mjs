// What holds of every page.
import assert from 'node:assert/strict';

export async function isNoWiderThanItsWindow(page) {
  const { wide, most } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, most: window.innerWidth }));
  assert.ok(wide <= most, `${page.url()} is ${wide} px wide in a window of ${most}`);
}
export async function nothingIsUnnamed(page) {
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll('button, a, input, select')].filter((e) => e.offsetParent && !(e.getAttribute('aria-label') || e.innerText || e.value || e.labels?.length || e.title)).map((e) => e.outerHTML.slice(0, 120)),
  );
  assert.deepEqual(unnamed, []);
}

// Texts whose contrast is below WCAG's 4.5 (3 for large ones).
export async function isReadable(page) {
  const faint = await page.evaluate(() => {
    const channels = (colour) => (colour.startsWith('color(srgb') ? colour.match(/[\d.]+/g).map((v, i) => (i < 3 ? v * 255 : +v)) : (colour.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number));
    const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * ((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))(c[i] / 255), 0);
    const behind = (e) => {
      for (; e; e = e.parentElement) {
        const c = channels(getComputedStyle(e).backgroundColor);
        if ((c[3] ?? 1) > 0.8) return c;
      }
      return [255, 255, 255];
    };
    const found = [];
    for (const e of document.querySelectorAll('body *')) {
      if (!e.checkVisibility() || e.closest('[aria-hidden], .sr, :disabled') || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
      const style = getComputedStyle(e), [a, b] = [luminance(channels(style.color)), luminance(behind(e))].sort((x, y) => y - x);
      const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
      const contrast = (a + 0.05) / (b + 0.05);
      if (contrast < (isLarge ? 3 : 4.5)) found.push(`${contrast.toFixed(2)} ${e.innerText.slice(0, 40)}`);
    }
    return found;
  });
  assert.deepEqual(faint, [], page.url());
}
