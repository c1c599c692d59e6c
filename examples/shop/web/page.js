// The page, made on the server: it works and shows the goods without JavaScript; app.js adds the cart.
'use strict';
const { art } = require('./art.js');

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const money = (cents) => `€${(cents / 100).toFixed(2)}`;

function card(product) {
  return `<article class="card" style="--hue:${Number(product.hue) || 0}" data-id="${Number(product.id)}">
  <div class="art">${art(product.art)}</div>
  <h3>${escape(product.name)}</h3>
  <p>${escape(product.note)}</p>
  <div class="buy"><b>${money(product.cents)}</b><button type="button" data-add="${Number(product.id)}" aria-label="Add ${escape(product.name)} to the cart">Add</button></div>
</article>`;
}

function shell({ name, release, title, body }) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 96 96'%3E%3Crect width='96' height='96' rx='22' fill='%230d6b78'/%3E%3Cpath d='M16 56h64L66 76H30zM48 20L30 56h36z' fill='white'/%3E%3C/svg%3E">
<link rel="stylesheet" href="/style.css?r=${encodeURIComponent(release)}">
</head>
<body>
${body}
</body>
</html>
`;
}

function home({ name, release, products, answered }) {
  const body = `<header>
  <a class="brand" href="/">${art('boat')}<span>${escape(name)}</span></a>
  <span class="release" title="The release of the page that you see">release <b>${escape(release)}</b></span>
  <button type="button" class="icon" id="theme" aria-label="Light or dark">◐</button>
  <button type="button" class="cart-button" id="cart-button" aria-expanded="false" aria-controls="cart">Cart <b id="count">0</b></button>
</header>
<main>
  <section class="hero">
    <div>
      <h1>Provisions for the crossing.</h1>
      <p>Twelve good things, loaded by hand. Whatever ships next, it goes to a few of you first, and comes back by itself if you do not like it.</p>
    </div>
    <svg class="waves" viewBox="0 0 400 160" preserveAspectRatio="none" aria-hidden="true">
      <path d="M0 90c50-30 100-30 150 0s100 30 150 0 100-30 150 0v80H0z"/><path d="M0 110c50-30 100-30 150 0s100 30 150 0 100-30 150 0v60H0z"/><path d="M0 130c50-30 100-30 150 0s100 30 150 0 100-30 150 0v40H0z"/>
    </svg>
  </section>
  <section id="picks" hidden><h2>Goes well together</h2><div class="picks"></div></section>
  <section><h2>On the quay today</h2><div class="grid">${products.map(card).join('\n')}</div></section>
</main>
<footer>
  <h2>Who answered you</h2>
  <div class="services" id="services">${services(answered)}</div>
  <p>Each service is released on its own. Two people may see different numbers here: that is a canary at work.</p>
</footer>
<aside id="cart" aria-label="Cart" inert>
  <div class="cart-head"><h2>Your cart</h2><button type="button" class="icon" id="close" aria-label="Close">×</button></div>
  <div id="lines"></div>
  <div class="cart-foot"><div class="total"><span>Total</span><b id="total">${money(0)}</b></div><button type="button" id="order" disabled>Order</button></div>
</aside>
<div id="toast" role="status"></div>
<script id="products" type="application/json">${JSON.stringify(products).replace(/</g, '\\u003c')}</script>
<script src="/app.js?r=${encodeURIComponent(release)}" defer></script>`;
  return shell({ name, release, title: name, body });
}

function services(answered) {
  return Object.entries(answered)
    .map(([service, who]) => `<div class="service"><span>${escape(service)}</span><b>release ${escape(who.release ?? '?')}</b><small>${escape(who.instance ?? '')}</small></div>`)
    .join('');
}

function sorry({ name, release, message }) {
  return shell({
    name,
    release,
    title: `${name}: rough water`,
    body: `<main class="sorry">${art('lantern')}<h1>Rough water.</h1><p>${escape(message)}</p><p>release <b>${escape(release)}</b></p><a href="/">Try again</a></main>`,
  });
}

module.exports = { home, sorry, services, escape, money };
