// Pictures to look at: node e2e/console/shots.mjs FOLDER, light and dark, desktop and phone.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { openBrowser } from './browser.mjs';
import { FakeControl } from './fake_control.mjs';

const kPages = { apps: '/', shop: '/apps/shop', pipelines: '/apps/shop/pipelines', pipeline: '/apps/shop/pipelines/41', releases: '/apps/shop/releases', logs: '/apps/shop/logs', events: '/apps/shop/events', variables: '/apps/shop/variables' };
const folder = process.argv[2];
const only = process.argv[3]?.split(',');
mkdirSync(folder, { recursive: true });
const fake = await FakeControl.start(process.env.NARU_CONSOLE_DIST);
const { browser, close } = await openBrowser();
for (const [size, viewport] of [['desktop', { width: 1360, height: 900 }], ['phone', { width: 390, height: 844 }]])
  for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({ viewport, colorScheme });
    const page = await context.newPage();
    await page.goto(`${fake.url}/`);
    if (!only || only.includes('login')) await page.screenshot({ path: join(folder, `login-${size}-${colorScheme}.png`) });
    await page.goto(fake.newLoginLink());
    for (const [name, path] of Object.entries(kPages)) {
      if (only && !only.includes(name)) continue;
      await page.goto(fake.url + path);
      await page.waitForTimeout(2500); // the streams of points need a moment to fill
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), fullPage: true });
    }
    if (!only || only.includes('back')) {
      const page = await context.newPage();
      const { rollout } = fake.world.statuses['shop/production'];
      const kept = structuredClone(rollout), share = fake.world.canaryFailureShare;
      const why = "errors for 21 of 88 canary users and 3 of 1702 stable users at 5%; a good release would come back so in at most 1 of 1000 rollouts; see `naru logs shop`";
      fake.world.canaryFailureShare = 0.22;
      Object.assign(rollout, { phase: 'rolling-back', weight: 0, reason: why, verdict: { ...rollout.verdict, kind: 'roll-back', metric: 'errors', reason: why } });
      Object.assign(rollout.verdict.evidence[0], { m: 51_000, bad_canary: 21 });
      await page.goto(`${fake.url}/apps/shop`);
      await page.waitForTimeout(2500);
      await page.screenshot({ path: join(folder, `back-${size}-${colorScheme}.png`), fullPage: true });
      fake.world.statuses['shop/production'].rollout = kept;
      fake.world.canaryFailureShare = share;
    }
    await context.close();
  }
await close();
await fake.stop();
