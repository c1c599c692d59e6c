// A control of recorded answers: the built console, the API of docs/api.md in its exact shapes, and the streams. A test changes
// `world` and calls `tell()`; what the page posts is in `posted`.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';

import { makeWorld, trafficAt } from './recorded_world.mjs';

const kTypes = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const kPolicy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";
const kCode = 'a-code-that-works-once';
const kHistory = 110;

export class FakeControl {
  static async start(dist) {
    const fake = new FakeControl();
    fake.files = new Map();
    const walk = (folder, at) => {
      for (const name of readdirSync(folder)) {
        const path = join(folder, name);
        if (statSync(path).isDirectory()) walk(path, `${at}${name}/`);
        else fake.files.set(at + name, readFileSync(path));
      }
    };
    walk(dist, '/');
    fake.server = createServer((request, response) => fake.answer(request, response));
    await new Promise((done) => fake.server.listen(0, '127.0.0.1', done));
    fake.url = `http://127.0.0.1:${fake.server.address().port}`;
    fake.timer = setInterval(() => fake.tellTraffic(), 1000);
    return fake;
  }

  constructor() {
    this.world = makeWorld();
    this.posted = [];
    this.live = new Set();
    this.since = [];
    this.logs = new Set();
    this.events = new Set();
    this.pipelineLogs = new Set();
    this.sessions = new Set();
    this.code = kCode;
    this.refuseStreams = false;
  }

  newLoginLink() {
    this.code = kCode;
    return `${this.url}/login?code=${kCode}`;
  }

  async stop() {
    clearInterval(this.timer);
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  // ---- streams

  tell() {
    for (const response of this.live) for (const status of Object.values(this.world.statuses)) send(response, 'status', status);
  }
  tellTraffic() {
    for (const response of this.live) for (const traffic of trafficAt(this.world, Date.now())) send(response, 'traffic', traffic);
  }
  tellEvent(event) {
    const stored = { sequence: ++this.world.sequence, at: Date.now(), app: 'shop', event };
    this.world.events.push(stored);
    for (const response of this.events) send(response, 'event', stored, stored.sequence);
  }
  // Kept as a service's log is kept: who opens its stream a moment later finds it in the tail.
  tellLine(line) {
    this.world.lines.push(line);
    for (const response of this.logs) send(response, 'line', line);
  }
  // As when control is killed: every connection breaks, and new streams are refused until `comeBack`.
  goAway() {
    this.refuseStreams = true;
    this.server.closeAllConnections();
  }
  comeBack() {
    this.refuseStreams = false;
  }

  // ---- requests

  answer(request, response) {
    const url = new URL(request.url, 'http://localhost');
    response.setHeader('X-Content-Type-Options', 'nosniff');
    if (this.refuseStreams) return void request.socket.destroy();
    if (url.pathname === '/login') return this.login(url, response);
    const session = /naru_session=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
    if (!session || !this.sessions.has(session)) {
      const page = (request.headers.accept ?? '').includes('text/html') && !url.pathname.includes('.');
      return page ? this.file('/login.html', 401, response) : refuse(response, 401, 'unauthorized', 'no token was given', 'naru open');
    }
    if (url.pathname === '/v1/version') return json(response, 200, { version: '0.1.0', gateway_port: 8080, started: 0 });
    if (url.pathname.startsWith('/v1/')) return request.method === 'GET' ? this.get(url, response) : this.change(request, url, response);
    const path = this.files.has(url.pathname) ? url.pathname : '/index.html';
    this.file(path, 200, response);
  }

  login(url, response) {
    if (url.searchParams.get('code') !== this.code) return this.file('/login.html', 401, response);
    this.code = '';
    const session = `s${this.sessions.size + 1}`;
    this.sessions.add(session);
    response.writeHead(303, { 'Set-Cookie': `naru_session=${session}; Path=/; HttpOnly; SameSite=Strict`, Location: '/' }).end();
  }

  file(path, status, response) {
    const bytes = this.files.get(path);
    if (!bytes) return refuse(response, 404, 'not_found', `there is no ${path}`, '');
    response.writeHead(status, { 'Content-Type': kTypes[extname(path)], 'Content-Security-Policy': kPolicy, 'Cache-Control': 'no-cache' }).end(bytes);
  }

  get(url, response) {
    const { world } = this;
    const [, , first, app, rest] = url.pathname.split('/').map(decodeURIComponent);
    const env = url.searchParams.get('env') ?? 'production';
    if (first === 'live') return this.openLive(url, response);
    if (first === 'events') return this.openEvents(url, response);
    if (first === 'apps' && !app) return json(response, 200, { apps: world.apps });
    const limit = Number(url.searchParams.get('limit') ?? 50);
    if (first === 'pipelines') {
      const found = Object.values(world.pipelines).flat().find((p) => String(p.id) === app);
      if (!found) return refuse(response, 404, 'not_found', `there is no pipeline ${app}`, '');
      return rest === 'log' ? this.openPipelineLog(app, response) : json(response, 200, found);
    }
    if (first === 'apps' && !world.apps.some((a) => a.name === app)) return refuse(response, 404, 'not_found', `there is no application '${app}'`, '');
    if (rest === 'status') return json(response, 200, world.statuses[`${app}/${env}`]);
    if (rest === 'releases') return json(response, 200, { releases: (world.releases[env === 'production' ? app : `${app}/${env}`] ?? []).slice(0, limit) });
    if (rest === 'pipelines') return json(response, 200, { pipelines: (world.pipelines[app] ?? []).slice(0, limit) });
    if (rest === 'env') return json(response, 200, { variables: world.variables.map((name) => ({ name, value: '***' })) });
    if (rest === 'logs') return this.openLogs(url, response);
    refuse(response, 404, 'not_found', `there is no ${url.pathname}`, '');
  }

  change(request, url, response) {
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      if (request.headers.origin !== this.url) return refuse(response, 403, 'forbidden', `a request from ${request.headers.origin} may not change anything here`, '');
      const body = JSON.parse(text || '{}');
      this.posted.push({ path: url.pathname, body });
      const [, , , app, verb] = url.pathname.split('/');
      if (verb === 'env') {
        this.world.variables = [...new Set([...this.world.variables, ...Object.keys(body.set ?? {})])].filter((name) => !(body.unset ?? []).includes(name));
        return json(response, 200, { pipeline: 42 });
      }
      if (verb === 'rollback' && body.version === 1) return refuse(response, 409, 'conflict', "v1's images were removed", 'push its commit again');
      json(response, 200, this.world.statuses[`${app}/${body.env ?? 'production'}`]);
    });
  }

  open(response, set) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write(': hello\n\n');
    set.add(response);
    response.on('close', () => set.delete(response));
  }
  openLive(url, response) {
    this.open(response, this.live);
    const now = Date.now(), since = Number(url.searchParams.get('since') ?? 0);
    this.since.push(since);
    const past = {};
    for (let i = this.world.history ?? kHistory; since > 0 && i >= 0; --i)
      for (const traffic of trafficAt(this.world, now - i * 1000)) if (traffic.at > since) (past[`${traffic.app}/${traffic.env}`] ??= []).push(traffic);
    for (const list of Object.values(past)) send(response, 'past', list);
    for (const status of Object.values(this.world.statuses)) send(response, 'status', status);
  }
  openEvents(url, response) {
    this.open(response, this.events);
    const after = Number(url.searchParams.get('after') ?? 0), app = url.searchParams.get('app');
    for (const stored of this.world.events) if (stored.sequence > after && stored.app === app) send(response, 'event', stored, stored.sequence);
  }
  openLogs(url, response) {
    this.open(response, this.logs);
    const service = url.searchParams.get('service');
    for (const line of this.world.lines) if (!service || line.service === service) send(response, 'line', line);
  }
  openPipelineLog(id, response) {
    response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.write(this.world.pipelineLog);
    if (Number(id) !== this.world.runningPipeline) return void response.end();
    this.pipelineLogs.add(response);
  }
}

function send(response, name, data, id) {
  response.write(`event: ${name}\n${id ? `id: ${id}\n` : ''}data: ${JSON.stringify(data)}\n\n`);
}
function json(response, status, data) {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(data));
}
function refuse(response, status, code, message, hint) {
  json(response, status, { error: { code, message, hint } });
}

// By hand: node e2e/console/fake_control.mjs DIST shows the console without the platform.
if (process.argv[1]?.endsWith('fake_control.mjs')) {
  const fake = await FakeControl.start(process.argv[2]);
  console.log(fake.newLoginLink());
}
