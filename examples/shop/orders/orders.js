// Orders: POST /orders {"cart": ID} takes what is in the cart, GET /orders/ID lists a cart's orders, GET /healthz.
'use strict';
const http = require('node:http');
const os = require('node:os');
const { Redis } = require('./resp.js');

const env = process.env;
const failPercent = Number(env.FAIL_PERCENT || 0);
const slowMs = Number(env.SLOW_MS || 0);
const redis = new Redis(env.REDIS || 'redis:6379');
const agent = new http.Agent({ keepAlive: true, maxSockets: 32, timeout: 30000 });
const kCarried = ['baggage', 'traceparent', 'tracestate'];
const kMaxBody = 4096;

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const carried = (headers) => Object.fromEntries(kCarried.filter((k) => headers[k]).map((k) => [k, headers[k]]));

function ask(base, path, headers, method = 'GET') {
  return new Promise((resolve, reject) => {
    const request = http.request(base + path, { method, headers: carried(headers), agent, timeout: 3000 }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode !== 200) return reject(new Refusal(502, `${base}${path} answered ${response.statusCode}`));
        try {
          resolve(JSON.parse(Buffer.concat(chunks)));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error(`${base}${path} is too slow`)));
    request.on('error', reject);
    request.end();
  });
}

// The lines of an order and their sum, from the cart's items and the catalog.
function price(items, products) {
  const byId = new Map(products.map((p) => [String(p.id), p]));
  const lines = Object.entries(items)
    .filter(([id]) => byId.has(id))
    .map(([id, quantity]) => ({ product: Number(id), name: byId.get(id).name, quantity, cents: byId.get(id).cents * quantity }));
  return { lines, cents: lines.reduce((sum, line) => sum + line.cents, 0) };
}

function parseCart(body) {
  let value;
  try {
    value = JSON.parse(body);
  } catch {
    throw new Refusal(400, 'the body is no JSON');
  }
  if (!/^[A-Za-z0-9-]{8,64}$/.test(value?.cart ?? '')) throw new Refusal(400, 'expected {"cart": ID}');
  return value.cart;
}

async function place(cart, headers) {
  const [{ items }, products] = await Promise.all([ask(env.CART_URL, `/carts/${cart}`, headers), ask(env.CATALOG_URL, '/products', headers)]);
  const order = price(items, products);
  if (order.lines.length === 0) throw new Refusal(409, 'the cart is empty');
  order.number = await redis.call('INCR', 'orders:number');
  await redis.call('RPUSH', `orders:${cart}`, JSON.stringify(order));
  await redis.call('LTRIM', `orders:${cart}`, -20, -1);
  await ask(env.CART_URL, `/carts/${cart}`, headers, 'DELETE');
  return order;
}

async function route(method, path, body, headers) {
  // Only this process: a service that waits for redis is not made better by restarting it.
  if (path === '/healthz') return { ok: true };
  if (slowMs) await new Promise((done) => setTimeout(done, slowMs));
  if (Math.random() * 100 < failPercent) throw new Refusal(500, 'the order book is wet');
  if (method === 'POST' && path === '/orders') return place(parseCart(body), headers);
  const match = /^\/orders\/([A-Za-z0-9-]{8,64})$/.exec(path);
  if (method === 'GET' && match) return { orders: (await redis.call('LRANGE', `orders:${match[1]}`, 0, -1)).map((o) => JSON.parse(o)) };
  throw new Refusal(404, 'no such thing');
}

function readBody(request) {
  return new Promise((resolve, reject) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk) => {
      body += chunk;
      if (body.length > kMaxBody) reject(new Refusal(413, `a body of at most ${kMaxBody} bytes`));
    });
    request.on('end', () => resolve(body));
    request.on('error', reject);
  });
}

async function serve(request, response) {
  let status = 200;
  let value;
  try {
    value = await route(request.method, request.url.split('?')[0], await readBody(request), request.headers);
  } catch (error) {
    status = error.status ?? 503;
    value = { error: error.status ? error.message : 'something that orders need does not answer' };
    if (status >= 500) console.error(`orders: ${request.method} ${request.url}: ${error.message}`);
  }
  response.writeHead(status, { 'Content-Type': 'application/json', 'X-Service': 'orders', 'X-Release': env.RELEASE ?? '?', 'X-Instance': os.hostname() });
  response.end(JSON.stringify(value));
}

function main() {
  if (Number(env.CRASH_AT_START || 0)) {
    console.error('orders: CRASH_AT_START is set, so this release dies here');
    process.exit(1);
  }
  const server = http.createServer(serve);
  server.keepAliveTimeout = 65000;
  server.listen(Number(env.PORT || 8080), () => console.log(`orders release ${env.RELEASE ?? '?'} listens`));
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
}

if (require.main === module) main();
module.exports = { price, parseCart, carried };
