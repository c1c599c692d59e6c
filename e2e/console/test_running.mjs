// The console of a running Naru: NARU_CONSOLE_LINK (a fresh login link) and NARU_CONSOLE_APP (an application that has a release; with
// NARU_CONSOLE_PROMOTE=1 one whose rollout holds, which is promoted):
//   NARU_CONSOLE_LINK=$(naru open) NARU_CONSOLE_APP=shop scripts/console test
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { isNoWiderThanItsWindow } from './checks.mjs';
import { eventually, kPages, kPhone, openPage, text } from './page.mjs';

const link = process.env.NARU_CONSOLE_LINK;
const app = process.env.NARU_CONSOLE_APP ?? 'shop';

describe('the console of a running Naru', () => {
  test('opens by its link, shows the application and fits a phone, without a complaint', async () => {
    const page = await openPage();
    page.ours = new URL(link).host;
    assert.equal((await page.goto(`http://${page.ours}/apps/${app}`)).status(), 401);
    await page.getByText('naru open').waitFor();
    page.complaints.length = 0; // the browser says 401 in its console
    await page.goto(link);
    await page.getByTestId(`app-${app}-production`).click();
    await page.getByRole('heading', { name: app, level: 1 }).waitFor();
    await page.getByTestId('crossing').waitFor();
    await page.getByText('live', { exact: true }).waitFor();
    await page.locator('[data-testid=charts] canvas').first().waitFor();
    const address = await page.getByRole('region', { name: 'Services' }).locator('a[target]').first().getAttribute('href');
    const visitor = await page.context().newPage(); // a browser knows names below .localhost
    await eventually(async () => {
      await visitor.goto(address);
      return parseFloat(await text(page, 'rps')) > 0;
    }, 'requests of users');
    await visitor.close();
    await page.setViewportSize(kPhone);
    for (const path of kPages) {
      await page.goto(`http://${page.ours}/apps/${app}${path}`);
      await page.getByRole('heading', { name: app, level: 1 }).waitFor();
      await isNoWiderThanItsWindow(page);
    }
    await page.setViewportSize({ width: 1280, height: 860 });
    if (process.env.NARU_CONSOLE_PROMOTE) await promoteWhatHolds(page);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  async function promoteWhatHolds(page) {
    await page.goto(`http://${page.ours}/apps/${app}`);
    await eventually(async () => /holding at/.test(await text(page, 'verdict')), 'a rollout that holds for want of users');
    if (process.env.NARU_CONSOLE_SHOT) await page.screenshot({ path: process.env.NARU_CONSOLE_SHOT, fullPage: true });
    await page.getByTestId('promote').click();
    await page.getByTestId('confirm').click();
    await eventually(async () => (await page.getByTestId('rollout').getAttribute('data-phase')) === 'done', 'the rollout is done');
    await page.goto(`http://${page.ours}/apps/${app}/events`);
    await page.getByText('promoted by a person').waitFor();
  }
});
