// The console in a real browser against recorded answers (fake_control.mjs).
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';

import { isNoWiderThanItsWindow, isReadable, nothingIsUnnamed } from './checks.mjs';
import { FakeControl } from './fake_control.mjs';
import { eventually, kPages, kPhone, openPage, text } from './page.mjs';

describe('the console', () => {
  let fake;
  beforeEach(async () => {
    await fake?.stop();
    fake = await FakeControl.start(process.env.NARU_CONSOLE_DIST);
  });
  after(() => fake?.stop());

  async function enter(path = '/', options = {}) {
    const page = await openPage(options);
    page.ours = new URL(fake.url).host;
    await page.goto(fake.newLoginLink());
    await page.getByTestId('app-shop-production').waitFor();
    if (path !== '/') {
      await page.goto(fake.url + path);
      await page.getByRole('heading', { name: 'shop', level: 1 }).waitFor();
      await page.getByText('live', { exact: true }).waitFor();
    }
    return page;
  }
  async function leave(page) {
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  }

  test('says how to log in to who has no session, and takes a link only once', async () => {
    const page = await openPage();
    const asked = [];
    page.on('request', (request) => asked.push(request.url()));
    const answer = await page.goto(`${fake.url}/apps/shop`);
    assert.equal(answer.status(), 401);
    await page.getByText('naru open').waitFor();
    assert.equal((await page.locator('main svg').boundingBox()).width, 64);
    assert.deepEqual(asked.filter((url) => !url.startsWith('data:')), [`${fake.url}/apps/shop`], 'nothing else would be answered');
    const once = fake.newLoginLink();
    await page.goto(once);
    await page.getByTestId('app-shop-production').waitFor();
    assert.equal((await (await openPage({}, null)).goto(once)).status(), 401);
    await page.context().close();
  });

  test('shows the login page when the session has ended while it was open', async () => {
    const page = await enter('/apps/shop');
    fake.sessions.clear();
    await page.getByRole('link', { name: 'Releases' }).click();
    await page.getByText('naru open').waitFor();
    assert.ok((await page.locator('main svg').first().boundingBox()).width >= 64, 'its mark is shown');
    assert.equal(await page.locator('img').count(), 0, 'no file is answered without a session');
    await page.context().close();
  });

  test('lists the applications with their health and the running rollout', async () => {
    const page = await enter();
    const card = await text(page, 'app-shop-production');
    for (const part of ['shop', 'v6', 'healthy', 'v7', 'canary', '25%']) assert.ok(card.includes(part), `${part} in ${card}`);
    assert.ok((await text(page, 'app-photos-production')).includes('degraded'));
    assert.match(await text(page, 'app-notes-production'), /nothing runs yet[\s\S]*no services yet/);
    fake.world.apps.push({ ...fake.world.apps[1], name: 'unseen' });
    await page.reload();
    assert.match(await text(page, 'app-unseen-production'), /v3/);
    assert.ok(!/services/.test(await text(page, 'app-unseen-production')), 'nobody has said yet how many it has');
    await nothingIsUnnamed(page);
    await leave(page);
  });

  test('follows a rollout from step to step without being asked', async () => {
    const page = await enter('/apps/shop');
    await eventually(async () => (await text(page, 'weight')) === '25%', 'the share of step 2');
    assert.match(await text(page, 'verdict'), /holding at 25%/);
    assert.match(await text(page, 'failed'), /basket\/others/);
    const { rollout } = fake.world.statuses['shop/production'];
    rollout.steps[1].passed = Date.now();
    rollout.steps.push({ weight: 5000, started: Date.now(), passed: 0, verdict: '' });
    Object.assign(rollout, { step: 2, weight: 5000, reason: 'holding at 50%', verdict: { ...rollout.verdict, reason: 'holding at 50%: just begun' } });
    fake.tell();
    await eventually(async () => (await text(page, 'weight')) === '50%', 'the share of step 3');
    assert.match(await text(page, 'verdict'), /just begun/);
    Object.assign(rollout, { phase: 'rolling-back', weight: 0, reason: 'errors for 21 of 88', verdict: { ...rollout.verdict, kind: 'roll-back', metric: 'errors', reason: 'errors for 21 of 88' } });
    fake.tell();
    await eventually(async () => (await page.getByTestId('rollout').getAttribute('data-phase')) === 'rolling-back', 'the rollback');
    await eventually(async () => (await page.getByTestId('promote').count()) === 0, 'no promotion of what goes back');
    await leave(page);
  });

  test('draws the traffic of both revisions', async () => {
    const page = await enter('/apps/shop');
    await page.locator('[data-testid=charts] canvas').nth(2).waitFor();
    assert.match(await text(page, 'charts'), /v6 stable[\s\S]*v7 canary/);
    await page.getByTestId('charts').getByLabel('Service').selectOption('catalog');
    await page.getByTestId('charts').getByText('v6, unchanged: both sides').waitFor();
    await page.getByTestId('charts').getByLabel('Service').selectOption('web');
    const coloured = () => page.evaluate(() => {
      const canvas = document.querySelector('[data-testid=charts] canvas');
      const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let orange = 0, teal = 0;
      for (let i = 0; i < pixels.length; i += 4) {
        if (pixels[i + 3] < 200) continue;
        if (pixels[i] > 200 && pixels[i + 2] < 90) ++orange;
        if (pixels[i] < 60 && pixels[i + 1] > 90) ++teal;
      }
      return { orange, teal };
    });
    await eventually(async () => {
      const { orange, teal } = await coloured();
      return orange > 20 && teal > 20;
    }, 'the colours of both revisions');
    await leave(page);
  });

  test('begins with the last minutes of traffic, and asks only for what is new after a break', async () => {
    const page = await enter('/apps/shop');
    await page.locator('[data-testid=charts] canvas').nth(2).waitFor();
    await page.reload();
    await page.locator('[data-testid=charts] canvas').nth(2).waitFor();
    assert.equal(fake.since.at(-1), 1, 'a page that was just loaded knows nothing');
    fake.goAway();
    fake.comeBack();
    await eventually(() => fake.since.at(-1) > Date.now() - 60_000, 'the stream is back');
    page.complaints.length = 0; // the browser tells of the break
    await leave(page);
  });

  test('promotes, aborts and rolls back only after a question', async () => {
    const page = await enter('/apps/shop');
    await page.getByTestId('promote').click();
    await page.getByRole('button', { name: 'Cancel' }).click();
    assert.deepEqual(fake.posted, []);
    await page.getByTestId('promote').click();
    await page.getByTestId('confirm').click();
    await page.getByText('v7 goes on').waitFor();
    await page.getByTestId('abort').click();
    await page.getByTestId('confirm').click();
    await page.getByText('v7 is being taken back').waitFor();
    Object.assign(fake.world.statuses['shop/production'].rollout, { phase: 'rolled-back', ended: Date.now() });
    fake.tell();
    await page.getByTestId('rollback').click();
    await page.getByTestId('confirm').click();
    await eventually(() => fake.posted.length === 3, 'three commands');
    assert.deepEqual(fake.posted.map((p) => [p.path, p.body.env]), ['promote', 'abort', 'rollback'].map((verb) => [`/v1/apps/shop/${verb}`, 'production']));
    await leave(page);
  });

  test('goes back only to what served everybody, and says what was taken back', async () => {
    const page = await enter('/apps/shop/releases');
    Object.assign(fake.world.statuses['shop/production'].rollout, { phase: 'done', ended: Date.now() });
    fake.tell();
    await page.getByTestId('release-4').getByRole('button', { name: 'Roll back to this' }).waitFor();
    assert.match(await text(page, 'release-5'), /taken back$/);
    assert.equal(await page.getByTestId('release-5').getByRole('button').count(), 0);
    await leave(page);
  });

  test('shows a refusal with its remedy', async () => {
    const page = await enter('/apps/shop/releases');
    Object.assign(fake.world.statuses['shop/production'].rollout, { phase: 'done', ended: Date.now() });
    fake.tell();
    await page.getByTestId('release-1').getByRole('button').click();
    await page.getByTestId('confirm').click();
    await page.getByText('push its commit again').waitFor();
    assert.deepEqual(fake.posted[0].body, { env: 'production', version: 1 });
    assert.equal(page.complaints.filter((c) => !c.includes('409')).length, 0);
    await page.context().close();
  });

  test('follows the log of a running pipeline', async () => {
    const page = await enter('/apps/shop/pipelines');
    assert.match(await text(page, 'pipeline-40'), /41 of 42 passed/);
    await page.getByTestId('pipeline-41').getByRole('link').click();
    await page.getByText('42 of 42 passed').waitFor();
    for (const response of fake.pipelineLogs) response.write('web | pushed as v7 <b>not markup</b>\n');
    await page.getByText('<b>not markup</b>').waitFor();
    await leave(page);
  });

  test('ends a cancelled build with its pipeline', async () => {
    const failed = fake.world.pipelines.shop[1];
    failed.finished = failed.pushed + 2_000;
    failed.builds[2] = { ...failed.builds[2], state: 'failed', started: failed.pushed + 900, finished: failed.pushed + 1_900, error: 'exit 2' };
    failed.builds[0] = { ...failed.builds[0], state: 'cancelled', started: failed.pushed + 900, finished: 0 };
    const page = await enter('/apps/shop/pipelines');
    const row = page.getByTestId('pipeline-40').locator('li').filter({ hasText: 'web' });
    assert.equal((await row.locator('.took').innerText()).trim(), 'cancelled');
    const [bar, track] = await Promise.all(['i', '.track'].map((part) => row.locator(part).first().boundingBox()));
    assert.ok(bar.x + bar.width <= track.x + track.width + 1 && bar.width < track.width, `${bar.width} of ${track.width}`);
    await leave(page);
  });

  test('fades the tabs that do not fit a phone, at the edge where there are more', async () => {
    const page = await enter('/apps/shop', { viewport: kPhone });
    const nav = page.getByRole('navigation', { name: 'Of the application' });
    const mask = () => nav.evaluate((n) => getComputedStyle(n).maskImage);
    await eventually(async () => /to left/.test(await mask()), 'more to the right');
    await nav.evaluate((n) => (n.scrollLeft = n.scrollWidth));
    await eventually(async () => /to right/.test(await mask()), 'more to the left');
    await page.setViewportSize({ width: 1280, height: 860 });
    await eventually(async () => (await mask()) === 'none', 'all of them');
    await leave(page);
  });

  test('finds first what begins with the word', async () => {
    const page = await enter('/apps/shop');
    await page.keyboard.press('/');
    await page.getByRole('combobox', { name: 'Find' }).fill('cat');
    assert.match(await page.locator('#found li').first().innerText(), /shop\/catalog/);
    await leave(page);
  });

  test('runs a pipeline that failed again', async () => {
    const page = await enter('/apps/shop/pipelines');
    const again = page.getByTestId('pipeline-40').getByRole('button', { name: 'Run it again' });
    assert.equal(await again.evaluate((b) => getComputedStyle(b).borderRadius), '9px', 'a button like the others');
    await again.click();
    await page.getByTestId('confirm').click();
    await page.getByText('#40 runs again').waitFor();
    assert.deepEqual(fake.posted[0], { path: '/v1/apps/shop/pipelines/retry', body: { id: 40 } });
    await leave(page);
  });

  test('streams logs of a service and filters them', async () => {
    const page = await enter('/apps/shop/logs');
    await page.getByText('shop-catalog-13').first().waitFor();
    await page.getByLabel('Service').selectOption('web');
    await eventually(async () => (await page.getByText('shop-catalog-13').count()) === 0, 'only web');
    fake.tellLine({ time: Date.now(), service: 'web', instance: 'shop-web-31', stream: 'stderr', text: 'needle in the hay' });
    await page.getByText('needle in the hay').waitFor();
    await page.getByLabel('Filter lines').fill('needle');
    await eventually(async () => (await page.locator('[role=log] .line').count()) === 1, 'one line');
    await leave(page);
  });

  test('tells events as they happen, and those it does not know by their name', async () => {
    const page = await enter('/apps/shop/events');
    await page.getByText('AnEventOfTomorrow').waitFor();
    fake.tellEvent({ event: 'StepPassed', rollout: 71, step: 1, verdict: 'passed 25%: good enough' });
    await page.getByText('passed 25%: good enough').waitFor();
    await leave(page);
  });

  test('sets and removes variables without ever having their values', async () => {
    const page = await enter('/apps/shop/variables');
    await page.getByText('PAYMENT_KEY').waitFor();
    await page.getByLabel('Name', { exact: true }).fill('API_TOKEN');
    await page.getByLabel('Value', { exact: true }).fill('open-sesame');
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await page.getByText('Pipeline #42').waitFor();
    assert.deepEqual(fake.posted[0].body, { env: 'production', set: { API_TOKEN: 'open-sesame' } });
    assert.ok(!(await page.content()).includes('open-sesame'));
    await leave(page);
  });

  test('is used with the keyboard alone', async () => {
    const page = await enter('/apps/shop');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
    await page.keyboard.press('Escape');
    await eventually(async () => (await page.getByRole('dialog').count()) === 0, 'the help is closed');
    await page.keyboard.press('g');
    await page.keyboard.press('r');
    await page.getByTestId('release-6').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('shop/web');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/apps/shop/logs?service=web');
    await page.keyboard.press('g');
    await page.keyboard.press('a');
    await page.getByRole('heading', { name: 'Applications' }).waitFor();
    await page.goto(`${fake.url}/apps/shop`);
    await page.getByTestId('promote').waitFor();
    await page.keyboard.press('P');
    await page.getByTestId('confirm').waitFor();
    await page.keyboard.press('Enter');
    await eventually(() => fake.posted.length === 1, 'promoted');
    await eventually(async () => (await page.getByRole('dialog').count()) === 0, 'the question is closed');
    await page.keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.activeElement.matches(':focus-visible')), `where the focus is can be seen: ${await page.evaluate(() => document.activeElement.outerHTML.slice(0, 200))}`);
    await page.keyboard.press('t');
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor);
    assert.match(await background(), /rgb\(11, 20, 24\)/);
    await page.keyboard.press('t');
    assert.match(await background(), /rgb\(242, 245, 246\)/);
    await page.emulateMedia({ colorScheme: 'dark' });
    await eventually(async () => /rgb\(11, 20, 24\)/.test(await background()), 'the colours follow the system');
    await leave(page);
  });

  test('says when the connection is lost and comes back by itself', async () => {
    const page = await enter('/apps/shop');
    fake.goAway();
    await page.getByText('The connection to Naru is lost').waitFor();
    fake.world.statuses['shop/production'].rollout.weight = 5000;
    fake.comeBack();
    await eventually(async () => (await page.getByText('The connection to Naru is lost').count()) === 0, 'the banner goes');
    await eventually(async () => (await text(page, 'weight')) === '50%', 'what was missed');
    assert.equal(page.complaints.filter((c) => !c.includes('net::ERR')).length, 0, page.complaints.join('\n'));
    await page.context().close();
  });

  test('fits a phone, with long names and without animation', async () => {
    const status = fake.world.statuses['shop/production'];
    status.message = `v6 serves everybody; ${'x'.repeat(300)}`;
    status.instances[0].error = `/${'path/'.repeat(80)}`;
    status.pipeline.error = 'y'.repeat(500);
    const page = await enter('/', { viewport: kPhone, reducedMotion: 'reduce', hasTouch: true });
    await isNoWiderThanItsWindow(page);
    for (const path of kPages) {
      await page.goto(`${fake.url}/apps/shop${path}`);
      await page.getByRole('heading', { name: 'shop', level: 1 }).waitFor();
      await page.getByText('live', { exact: true }).waitFor();
      await isNoWiderThanItsWindow(page);
      await nothingIsUnnamed(page);
    }
    await page.getByRole('button', { name: 'Keyboard help' }).tap();
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).tap();
    await eventually(async () => (await page.getByRole('dialog').count()) === 0, 'who has no Esc closes it, too');
    await leave(page);
  });

  const shop = () => fake.world.statuses['shop/production'];

  test('counts as traffic what users ask for, not what services ask each other', async () => {
    const page = await enter('/apps/shop');
    await page.getByTestId('rps').waitFor();
    const users = await eventually(async () => Number(await text(page, 'rps')), 'requests');
    // 240 of web, give or take 67; with the calls of catalog and basket three times as many.
    assert.ok(users > 150 && users < 320, `${users} requests/s`);
    assert.ok(!/0\.0/.test(await text(page, 'crossing')), 'little is not nothing');
    await page.goto(fake.url);
    const card = page.getByTestId('app-shop-production');
    const shown = await eventually(async () => /(\d+)\/s/.exec(await card.innerText())?.[1], 'the rate on the card');
    assert.ok(Number(shown) < 320, `${shown}/s`);
    await leave(page);
  });

  test('says what is slow, and when latency is not judged', async () => {
    const page = await enter('/apps/shop');
    assert.match(await text(page, 'evidence'), /slower than 31 ms, the old release’s 99th percentile/);
    shop().rollout.slow_us = 0;
    fake.tell();
    await eventually(async () => /not judged: the old release had too few requests/.test(await text(page, 'evidence')), 'no threshold');
    assert.match(await text(page, 'charts'), /median, dashed p99/);
    await leave(page);
  });

  test('says what a rollout waits for: users, whom it counts, and what crashes', async () => {
    const { rollout, instances } = shop();
    for (const one of rollout.verdict.evidence) Object.assign(one, { canary: { users_seen: 0, users_bad: 0, users_slow: 0, requests: 0, failed: 0 }, stable: { users_seen: 1, users_bad: 0, users_slow: 0, requests: 69, failed: 0 } });
    Object.assign(rollout.verdict.evidence[2], { exact_p: 1, exact_limit: 0 });
    rollout.verdict.reason = 'holding at 25%: 0 of 50 users; send traffic, add a probe, or naru promote shop';
    const page = await enter('/apps/shop');
    const notes = await text(page, 'notes');
    assert.match(notes, /69 requests of 1 user came in this step, 0 of them to v7; requests without a cookie \(curl, a script\) count as one user for each address/);
    assert.match(notes, /shop-recommend-32 crashed: exited with 1: cannot reach catalog/);
    assert.match(await text(page, 'rollout'), /30 s, 50 users/);
    assert.ok(!/below 0/.test(await text(page, 'evidence')), 'no limit, no words about one');
    const bar = await page.locator('[data-testid=rollout] li[aria-current] u').count();
    assert.equal(bar, 0, 'the bar shows what is missing, not the time that has passed');
    await page.getByTestId('notes').getByRole('link').click();
    await page.waitForURL('**/apps/shop/logs?service=recommend');
    await page.goBack();
    instances.find((i) => i.id === 'shop-recommend-32').phase = 'running';
    Object.assign(instances.find((i) => i.id === 'shop-recommend-32'), { restarts: 0, error: '' });
    Object.assign(rollout, { phase: 'preparing', steps: [], verdict: null, reason: '' });
    shop().message = 'starting v7; users meet v6 only';
    fake.tell();
    await eventually(async () => /shop-recommend-32 is not healthy yet, for/.test(await text(page, 'notes')), 'what the start waits for');
    assert.equal(await text(page, 'verdict'), 'starting v7; users meet v6 only');
    Object.assign(rollout, { phase: 'done', ended: Date.now(), reason: 'every step passed' });
    fake.tell();
    await eventually(async () => (await page.getByTestId('notes').count()) === 0, 'what has ended waits for nothing');
    Object.assign(rollout, { phase: 'rolled-back', superseded: true, steps: [{ weight: 500, started: 1, passed: 0, verdict: '' }], reason: 'superseded by v8' });
    fake.tell();
    await page.getByTestId('rollout').getByText('superseded', { exact: true }).waitFor();
    assert.equal(await page.locator('[data-testid=rollout] li.bad').count(), 0, 'no fault of its own');
    await leave(page);
  });

  test('shows every cell of its tables on a narrow phone', async () => {
    const page = await enter('/apps/shop', { viewport: { width: 360, height: 740 } });
    for (const name of ['Evidence', 'Failed requests', 'Instances']) {
      const cut = await page.getByRole('region', { name, exact: true }).locator('td').evaluateAll((cells) => cells.filter((c) => c.getBoundingClientRect().right > window.innerWidth || !c.checkVisibility() || c.scrollWidth > c.clientWidth + 1).map((c) => c.innerText));
      assert.deepEqual(cut, [], name);
      const unnamed = await page.getByRole('region', { name, exact: true }).locator('td:not(:first-child)').evaluateAll((cells) => cells.filter((c) => /^(none|normal|"")$/.test(getComputedStyle(c, '::before').content)).map((c) => c.innerText));
      assert.deepEqual(unnamed, [], name);
    }
    await leave(page);
  });

  test('can be read in light and in dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
      const page = await enter('/', { colorScheme, reducedMotion: 'reduce' });
      await isReadable(page);
      for (const path of kPages) {
        await page.goto(`${fake.url}/apps/shop${path}`);
        await page.getByRole('heading', { name: 'shop', level: 1 }).waitFor();
        await page.getByText('live', { exact: true }).waitFor();
        await page.locator('.card, [role=log] .line').first().waitFor();
        await isReadable(page);
      }
      await leave(page);
    }
  });

  test('shows no traffic where nobody is served', async () => {
    shop().stopped = true;
    const page = await enter('/apps/shop');
    await page.getByTestId('charts').waitFor();
    assert.equal(await page.getByTestId('crossing').count(), 0, 'it is stopped');
    shop().stopped = false;
    fake.tell();
    await page.getByTestId('crossing').waitFor();
    Object.assign(shop().rollout, { from_version: null, phase: 'preparing', steps: [], verdict: null });
    shop().stable = null;
    fake.tell();
    await eventually(async () => (await page.getByTestId('crossing').count()) === 0, 'the first release only starts');
    await page.goto(`${fake.url}/apps/notes`);
    await page.getByText('git push naru main').waitFor();
    assert.equal(await page.getByTestId('charts').count(), 0, 'no services, no charts');
    await leave(page);
  });

  test('shows a long log as a terminal would, and says what it leaves out', async () => {
    fake.world.pipelines.shop[1].error = 'an error\n'.repeat(100);
    fake.world.pipelineLog = `${'x\n'.repeat(7_000)}web | \x1b[31mred\x1b[0m 0 failed\nweb | 10%\rweb | 100%\r\n`;
    const page = await enter('/apps/shop/pipelines');
    await page.getByTestId('pipeline-40').getByRole('link', { name: 'Its log' }).click();
    await page.getByText('web | red 0 failed', { exact: true }).waitFor();
    assert.deepEqual(await page.locator('.line').last().innerText(), 'web | 100%');
    assert.equal(await page.locator('.line.bad').count(), 0, 'none failed is no failure');
    assert.match(await text(page, 'pipeline-log'), /the first 2,002 lines are left out here/);
    assert.equal(await page.getByRole('link', { name: 'The whole log' }).getAttribute('href'), '/v1/pipelines/40/log');
    assert.equal(await page.title(), 'shop pipelines · Naru');
    await leave(page);
  });

  test('follows a pipeline through a break', async () => {
    const page = await enter('/apps/shop/pipelines/41');
    await page.getByText('42 of 42 passed').waitFor();
    fake.goAway();
    await page.getByText('the log has broken off').waitFor();
    fake.world.pipelineLog += 'web | said meanwhile\n';
    fake.comeBack();
    await page.getByText('said meanwhile').waitFor();
    assert.equal(await page.getByText('the log has broken off').count(), 0);
    await page.context().close();
  });

  test('finds pipelines and releases that are older than its lists', async () => {
    const { world } = fake;
    world.pipelines.shop = Array.from({ length: 120 }, (_, i) => ({ ...world.pipelines.shop[2], id: 200 - i, subject: `Push ${200 - i}` }));
    world.releases.shop = Array.from({ length: 300 }, (_, i) => ({ ...world.releases.shop[4], id: 900 - i, version: 300 - i, taken_back: i === 0 }));
    world.releases['shop/staging'] = [{ ...world.releases.shop[0], subject: 'Only on staging', version: 3 }];
    const page = await enter('/apps/shop/pipelines/90');
    await page.getByText('Push 90').waitFor();
    await page.getByText('42 of 42 passed').waitFor();
    await page.goto(`${fake.url}/apps/shop/pipelines`);
    await page.getByRole('button', { name: 'Show older pipelines' }).click();
    await page.getByText('Push 85').waitFor();
    await page.goto(`${fake.url}/apps/shop/releases`);
    await page.getByTestId('release-300').getByText('taken back').waitFor();
    await page.getByRole('button', { name: 'Show older releases' }).click();
    await page.getByTestId('release-1').waitFor();
    world.statuses['shop/staging'] = { ...shop(), env: 'staging' };
    world.apps.find((a) => a.name === 'shop').environments.push({ name: 'staging', stable: null, rollout: null, health: 'ok', addresses: [] });
    await page.goto(`${fake.url}/apps/shop/releases?env=staging`);
    await page.getByText('Only on staging').waitFor();
    page.complaints.length = 0;
    await page.goto(`${fake.url}/apps/shop/pipelines/9999`);
    await page.getByText('there is no pipeline 9999').waitFor();
    assert.equal(page.complaints.filter((c) => !c.includes('404')).length, 0, page.complaints.join('\n'));
    await page.context().close();
  });

  test('asks again for its lists when a lost connection is back', async () => {
    const page = await enter('/apps/shop');
    fake.goAway();
    await page.getByText('The connection to Naru is lost').waitFor();
    await page.getByRole('link', { name: 'Releases' }).click();
    await page.getByText('Naru does not answer').waitFor();
    for (const [name, test] of [['Logs', 'Nothing was printed yet'], ['Events', 'Nothing has happened yet']]) {
      await page.getByRole('link', { name, exact: true }).click();
      await page.getByText('Waiting for the connection').waitFor();
      assert.equal(await page.getByText(test).count(), 0, 'nobody knows that');
    }
    await page.getByRole('link', { name: 'Releases' }).click();
    await page.getByText('Naru does not answer').waitFor();
    fake.comeBack();
    await page.getByTestId('release-6').waitFor();
    await page.getByText('Naru does not answer').waitFor({ state: 'detached' });
    await page.context().close();
  });

  test('takes the keyboard to the content, and to the page that a link led to', async () => {
    const page = await enter('/apps/shop');
    const focused = () => page.evaluate(() => document.activeElement.id);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await eventually(async () => (await focused()) === 'main', 'the content has the focus');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.innerText), 'Applications', 'the first link of the content');
    await page.keyboard.press('Enter');
    await page.getByTestId('app-photos-production').waitFor();
    await eventually(async () => (await focused()) === 'main', 'the list has the focus');
    await page.goto(`${fake.url}/apps/%E0%A4%A`);
    await page.getByText('There is no application').waitFor();
    await leave(page);
  });

  test('says so when there is no such application, or none at all', async () => {
    const page = await enter();
    await page.goto(`${fake.url}/apps/nothing`);
    await page.getByText('There is no application nothing').waitFor();
    fake.world.apps = [];
    fake.world.statuses = {};
    await page.goto(fake.url);
    await page.getByText('naru app create shop').waitFor();
    await leave(page);
  });
});
