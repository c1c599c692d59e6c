// The front: the page, its files, and /api, which puts the services together.
//   GET  /               the page          GET    /api/shop         products, cart, recommendations, who answered
//   POST /api/cart       {product, quantity}   DELETE /api/cart         empties it
//   POST /api/orders     orders the cart   GET    /api/orders       orders so far        GET /healthz
'use strict';
const http = require('node:http');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { randomUUID } = require('node:crypto');
const { Visit, Upstream } = require('./inner.js');
const page = require('./page.js');

const env = process.env;
const release = env.RELEASE ?? '?';
const name = env.SHOP_NAME || 'Ferry & Co.';
const failPercent = Number(env.FAIL_PERCENT || 0);
const slowMs = Number(env.SLOW_MS || 0);
const kMaxBody = 4096;
const kCookie = 'shop_cart';
const kTypes = { '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8' };

const files = new Map(
  fs.readdirSync(path.join(__dirname, 'public')).map((file) => ['/' + file, { type: kTypes[path.extname(file)], body: fs.readFileSync(path.join(__dirname, 'public', file)) }]),
);

// The cart's id out of a Cookie header; nothing when it is none of ours.
function cartOf(cookie) {
  return new RegExp(`(?:^|; )${kCookie}=([A-Za-z0-9-]{8,64})(?:;|$)`).exec(cookie ?? '')?.[1];
}

function readBody(request) {
  return new Promise((resolve, reject) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk) => {
      body += chunk;
      if (body.length > kMaxBody) reject(new Upstream(413, `a body of at most ${kMaxBody} bytes`));
    });
    request.on('end', () => {
      try {
        resolve(body === '' ? {} : JSON.parse(body));
      } catch {
        reject(new Upstream(400, 'the body is no JSON'));
      }
    });
    request.on('error', reject);
  });
}

const itself = () => ({ release, instance: os.hostname() });
const answeredIn = (visit) => ({ web: itself(), ...visit.answered });

async function home(visit) {
  const products = await visit.ask(env.CATALOG_URL, '/products');
  return page.home({ name, release, products, answered: answeredIn(visit) });
}

async function shop(visit, cart) {
  const [products, held] = await Promise.all([
    visit.ask(env.CATALOG_URL, '/products'),
    cart ? visit.ask(env.CART_URL, `/carts/${cart}`) : { items: {} },
  ]);
  const inCart = Object.keys(held.items).join(',');
  const [picks, orders] = await Promise.all([
    visit.ask(env.RECOMMEND_URL, `/recommendations?for=${inCart}`),
    cart ? visit.ask(env.ORDERS_URL, `/orders/${cart}`) : { orders: [] },
  ]);
  return { products, items: held.items, recommended: picks.products, orders: orders.orders, answered: answeredIn(visit) };
}

async function api(request, visit, cart, setCookie) {
  const what = `${request.method} ${request.url.split('?')[0]}`;
  if (what === 'GET /api/shop') return shop(visit, cart);
  if (what === 'POST /api/cart') {
    const { product, quantity } = await readBody(request);
    cart ??= setCookie(randomUUID());
    const { items } = await visit.ask(env.CART_URL, `/carts/${cart}/items`, { method: 'POST', body: { product, quantity } });
    return { items, answered: answeredIn(visit) };
  }
  if (what === 'DELETE /api/cart') return cart ? visit.ask(env.CART_URL, `/carts/${cart}`, { method: 'DELETE' }) : { items: {} };
  if (what === 'POST /api/orders') {
    if (!cart) throw new Upstream(409, 'the cart is empty');
    return visit.ask(env.ORDERS_URL, '/orders', { method: 'POST', body: { cart } });
  }
  if (what === 'GET /api/orders') return cart ? visit.ask(env.ORDERS_URL, `/orders/${cart}`) : { orders: [] };
  throw new Upstream(404, 'no such thing');
}

async function serve(request, response) {
  const url = request.url.split('?')[0];
  const headers = { 'X-Service': 'web', 'X-Release': release, 'X-Instance': os.hostname() };
  const send = (status, type, body) => {
    response.writeHead(status, { ...headers, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  const json = (status, value) => send(status, 'application/json', JSON.stringify(value));
  const wantsPage = !url.startsWith('/api/');
  try {
    if (url === '/healthz') return json(200, { ok: true });
    const file = files.get(url);
    if (file) {
      headers['Cache-Control'] = 'public, max-age=3600';
      return send(200, file.type ?? 'application/octet-stream', file.body);
    }
    headers['Cache-Control'] = 'no-store';
    if (slowMs) await new Promise((done) => setTimeout(done, slowMs));
    if (Math.random() * 100 < failPercent) throw new Upstream(500, 'the front has sprung a leak');
    const visit = new Visit(request.headers);
    if (!wantsPage) {
      const setCookie = (id) => {
        headers['Set-Cookie'] = `${kCookie}=${id}; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax`;
        return id;
      };
      return json(200, await api(request, visit, cartOf(request.headers.cookie), setCookie));
    }
    if (url !== '/' || !['GET', 'HEAD'].includes(request.method)) throw new Upstream(404, 'There is nothing at this address.');
    return send(200, 'text/html; charset=utf-8', await home(visit));
  } catch (error) {
    const status = error.status ?? 500;
    if (status >= 500) console.error(`web: ${request.method} ${url}: ${error.message}`);
    if (wantsPage) return send(status, 'text/html; charset=utf-8', page.sorry({ name, release, message: status < 500 ? error.message : 'One of our services does not answer just now.' }));
    return json(status, { error: error.message });
  }
}

function main() {
  if (Number(env.CRASH_AT_START || 0)) {
    console.error('web: CRASH_AT_START is set, so this release dies here');
    process.exit(1);
  }
  const server = http.createServer(serve);
  server.keepAliveTimeout = 65000;
  server.listen(Number(env.PORT || 8080), () => console.log(`web release ${release} listens`));
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => server.close(() => process.exit(0)) && server.closeIdleConnections?.());
}

if (require.main === module) main();
module.exports = { cartOf };
