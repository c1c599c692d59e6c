// Calls to the other services. Every call carries the user's baggage and trace, so that a user meets one release
// everywhere; every answer says which release gave it.
'use strict';
const http = require('node:http');
const { randomBytes } = require('node:crypto');

const agent = new http.Agent({ keepAlive: true, maxSockets: 64, timeout: 30000 });
const kCarried = ['baggage', 'traceparent', 'tracestate'];
const kMaxAnswer = 1 << 20;

class Upstream extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The headers that go along; a trace starts here when the gateway has not started one.
function carried(headers) {
  const out = Object.fromEntries(kCarried.filter((k) => headers[k]).map((k) => [k, headers[k]]));
  out.traceparent ??= `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
  return out;
}

// One visit of a user: the headers to carry, and who answered so far.
class Visit {
  constructor(headers) {
    this.headers = carried(headers);
    this.answered = {};
  }

  ask(base, path, { method = 'GET', body, timeout = 3000 } = {}) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { ...this.headers };
    if (text !== undefined) Object.assign(headers, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
    return new Promise((resolve, reject) => {
      const request = http.request(base + path, { method, headers, agent, timeout }, (response) => {
        const { 'x-service': service, 'x-release': release, 'x-instance': instance } = response.headers;
        if (service) this.answered[service] = { release, instance };
        const chunks = [];
        let size = 0;
        response.on('data', (chunk) => {
          size += chunk.length;
          if (size > kMaxAnswer) request.destroy(new Error(`${base}${path} answered too much`));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () => {
          let value;
          try {
            value = JSON.parse(Buffer.concat(chunks));
          } catch {
            return reject(new Upstream(502, `${base}${path} answered no JSON`));
          }
          if (response.statusCode === 200) return resolve(value);
          // What the user did wrong is the user's; what a service did wrong is ours.
          reject(new Upstream(response.statusCode < 500 ? response.statusCode : 502, value.error ?? `${base}${path} answered ${response.statusCode}`));
        });
      });
      request.on('timeout', () => request.destroy(new Upstream(504, `${base}${path} is too slow`)));
      request.on('error', (error) => reject(error.status ? error : new Upstream(502, `${base}${path}: ${error.message}`)));
      request.end(text);
    });
  }
}

module.exports = { Visit, Upstream, carried };
