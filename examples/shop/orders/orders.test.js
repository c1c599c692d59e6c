'use strict';
const test = require('node:test');
const assert = require('node:assert');
const { price, parseCart, carried } = require('./orders.js');
const { encode, decode } = require('./resp.js');

test('sums what is in the cart and leaves out what the catalog does not know', () => {
  const order = price({ 1: 2, 9: 1 }, [{ id: 1, name: 'Lantern', cents: 100 }, { id: 2, name: 'Mug', cents: 5 }]);
  assert.deepStrictEqual(order, { lines: [{ product: 1, name: 'Lantern', quantity: 2, cents: 200 }], cents: 200 });
});
test('refuses bodies that name no cart', () => {
  for (const body of ['', '{', 'null', '[]', '{"cart":"../x"}', '{"cart":7}']) assert.throws(() => parseCart(body), { status: 400 });
  assert.strictEqual(parseCart('{"cart":"abcdefgh-1"}'), 'abcdefgh-1');
});
test('carries baggage and trace, nothing else', () => {
  assert.deepStrictEqual(carried({ baggage: 'a=b', cookie: 'x' }), { baggage: 'a=b' });
});
test('speaks RESP', () => {
  assert.strictEqual(encode(['SET', 'ü', 1]), '*3\r\n$3\r\nSET\r\n$2\r\nü\r\n$1\r\n1\r\n');
  const whole = Buffer.from('*3\r\n$2\r\nab\r\n:7\r\n$-1\r\n');
  assert.deepStrictEqual(decode(whole).value, ['ab', 7, null]);
  for (let cut = 0; cut < whole.length; cut++) assert.strictEqual(decode(whole.subarray(0, cut)), null);
  assert.throws(() => decode(Buffer.from('HTTP/1.1 200\r\n')));
});
