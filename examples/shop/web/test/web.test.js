'use strict';
const test = require('node:test');
const assert = require('node:assert');
const http = require('node:http');
const { cartOf } = require('../server.js');
const { Visit, carried } = require('../inner.js');
const page = require('../page.js');

const product = { id: 1, name: '<b>Lamp</b>', note: 'x', cents: 1999, art: 'lantern', hue: 10 };

test('escapes what the catalog says', () => {
  const html = page.home({ name: 'A & B', release: '7', products: [product], answered: { web: { release: '7', instance: 'i' } } });
  assert.ok(!html.includes('<b>Lamp'));
  assert.ok(html.includes('€19.99') && html.includes('release <b>7</b>') && html.includes('A &#38; B'));
});
test('finds the cart in the cookies, and only a well-formed one', () => {
  assert.strictEqual(cartOf('a=b; shop_cart=12345678-abcd; c=d'), '12345678-abcd');
  for (const cookie of [undefined, '', 'shop_cart=', 'shop_cart=../../x', 'xshop_cart=12345678']) assert.strictEqual(cartOf(cookie), undefined);
});
test('carries baggage and trace, and starts a trace where there is none', () => {
  assert.deepStrictEqual(carried({ baggage: 'a=b', traceparent: 't', cookie: 'no' }), { baggage: 'a=b', traceparent: 't' });
  assert.match(carried({}).traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
});
test('an inner call passes the headers on, notes who answered, and makes 502 of a 500', async () => {
  const seen = [];
  const server = http.createServer((request, response) => {
    seen.push(request.headers.baggage);
    response.writeHead(request.url === '/bad' ? 500 : 200, { 'X-Service': 'catalog', 'X-Release': '3', 'X-Instance': 'c1' });
    response.end('{"ok":true}');
  });
  await new Promise((done) => server.listen(0, done));
  const base = `http://127.0.0.1:${server.address().port}`;
  const visit = new Visit({ baggage: 'cohort=canary' });
  assert.deepStrictEqual(await visit.ask(base, '/good'), { ok: true });
  await assert.rejects(visit.ask(base, '/bad'), { status: 502 });
  assert.deepStrictEqual(visit.answered, { catalog: { release: '3', instance: 'c1' } });
  assert.deepStrictEqual(seen, ['cohort=canary', 'cohort=canary']);
  server.closeAllConnections();
  server.close();
});
