// Headless Chromium of the system, with a profile of its own that goes away.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const kFlags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];

export async function openBrowser() {
  const modules = process.env.NARU_CONSOLE_MODULES;
  if (!modules) throw new Error('NARU_CONSOLE_MODULES is not set: run `scripts/console test`');
  const { chromium } = createRequire(join(modules, 'x.js'))('playwright-core');
  const profile = mkdtempSync(join(tmpdir(), 'naru-console-'));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: kFlags,
    env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
