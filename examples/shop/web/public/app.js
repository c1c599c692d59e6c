'use strict';
const products = JSON.parse(document.getElementById('products').textContent);
const byId = new Map(products.map((p) => [p.id, p]));
const $ = (id) => document.getElementById(id);
const money = (cents) => `€${(cents / 100).toFixed(2)}`;
const element = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};

let toastTimer;
function toast(text) {
  $('toast').textContent = text;
  $('toast').classList.add('show');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $('toast').classList.remove('show'), 2600);
}

async function call(method, path, body) {
  const response = await fetch(path, { method, headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body) });
  const value = await response.json();
  if (!response.ok) throw new Error(value.error ?? response.statusText);
  return value;
}

function showServices(answered) {
  $('services').replaceChildren(
    ...Object.entries(answered).map(([service, who]) =>
      element('div', { className: 'service' }, element('span', { textContent: service }), element('b', { textContent: `release ${who.release}` }), element('small', { textContent: who.instance })),
    ),
  );
}

function showCart(items) {
  const entries = Object.entries(items).filter(([id]) => byId.has(Number(id)));
  $('count').textContent = entries.reduce((sum, [, n]) => sum + n, 0);
  $('total').textContent = money(entries.reduce((sum, [id, n]) => sum + n * byId.get(Number(id)).cents, 0));
  $('order').disabled = entries.length === 0;
  $('lines').replaceChildren(
    ...entries.map(([id, n]) => {
      const product = byId.get(Number(id));
      const step = (by, text, label) => element('button', { type: 'button', textContent: text, ariaLabel: label, onclick: () => add(product.id, by) });
      const art = document.querySelector(`.grid [data-id="${product.id}"] .art`).cloneNode(true);
      art.style.setProperty('--hue', product.hue);
      return element('div', { className: 'line' }, art, element('div', {}, element('span', { textContent: product.name }), element('small', { textContent: money(product.cents * n) })),
        element('div', { className: 'steps' }, step(-1, '−', `One ${product.name} less`), element('b', { textContent: n }), step(1, '+', `One ${product.name} more`)));
    }),
  );
  if (entries.length === 0) $('lines').append(element('p', { className: 'empty', textContent: 'Nothing aboard yet.' }));
}

function showPicks(ids) {
  const cards = ids.map((id) => document.querySelector(`.grid [data-id="${id}"]`)).filter(Boolean);
  $('picks').hidden = cards.length === 0;
  $('picks').querySelector('.picks').replaceChildren(...cards.map((card) => card.cloneNode(true)));
}

async function refresh() {
  try {
    const shop = await call('GET', '/api/shop');
    showCart(shop.items);
    showPicks(shop.recommended);
    showServices(shop.answered);
  } catch (error) {
    toast(error.message);
  }
}

async function add(product, quantity = 1) {
  try {
    const { items } = await call('POST', '/api/cart', { product, quantity });
    showCart(items);
    if (quantity > 0) toast(`${byId.get(product).name} is aboard.`);
  } catch (error) {
    toast(error.message);
  }
}

function openCart(open) {
  document.body.classList.toggle('cart-open', open);
  $('cart').inert = !open;
  $('cart-button').setAttribute('aria-expanded', open);
  (open ? $('close') : $('cart-button')).focus();
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-add]');
  if (button) add(Number(button.dataset.add));
});
document.addEventListener('keydown', (event) => event.key === 'Escape' && document.body.classList.contains('cart-open') && openCart(false));
$('cart-button').onclick = () => openCart(!document.body.classList.contains('cart-open'));
$('close').onclick = () => openCart(false);
$('order').onclick = async () => {
  $('order').disabled = true;
  try {
    const order = await call('POST', '/api/orders');
    toast(`Order ${order.number} for ${money(order.cents)} leaves with the next ferry.`);
    openCart(false);
  } catch (error) {
    toast(error.message);
  }
  refresh();
};
$('theme').onclick = () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  localStorage.theme = document.documentElement.dataset.theme = dark ? 'light' : 'dark';
};
if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
refresh();
