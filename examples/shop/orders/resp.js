// Redis' protocol, RESP2: one connection, pipelined, opened anew when it breaks.
'use strict';
const net = require('node:net');

function encode(words) {
  return `*${words.length}\r\n` + words.map((w) => `$${Buffer.byteLength(String(w))}\r\n${w}\r\n`).join('');
}

// Reads one reply of `buffer` at `at`: {value, next}, or null when it is not complete yet.
function decode(buffer, at = 0) {
  const end = buffer.indexOf('\r\n', at);
  if (end < 0) return null;
  const rest = buffer.toString('utf8', at + 1, end);
  switch (buffer[at]) {
    case 0x2b: return { value: rest, next: end + 2 };
    case 0x2d: return { value: new Error(rest), next: end + 2 };
    case 0x3a: return { value: Number(rest), next: end + 2 };
    case 0x24: {
      const size = Number(rest);
      if (size < 0) return { value: null, next: end + 2 };
      if (buffer.length < end + 4 + size) return null;
      return { value: buffer.toString('utf8', end + 2, end + 2 + size), next: end + 4 + size };
    }
    case 0x2a: {
      const value = [];
      let next = end + 2;
      for (let i = 0; i < Number(rest); i++) {
        const one = decode(buffer, next);
        if (!one) return null;
        value.push(one.value);
        next = one.next;
      }
      return { value, next };
    }
    default: throw new Error('redis does not speak RESP');
  }
}

class Redis {
  constructor(address) {
    [this.host, this.port] = address.split(':');
    this.waiting = [];
  }

  connect() {
    const socket = net.connect(Number(this.port || 6379), this.host);
    let buffer = Buffer.alloc(0);
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      buffer = Buffer.concat([buffer, chunk]);
      try {
        for (let one; (one = decode(buffer)); buffer = buffer.subarray(one.next)) this.waiting.shift()?.(one.value);
      } catch (error) {
        socket.destroy(error);
      }
    });
    const lost = (error) => {
      if (this.socket !== socket) return;
      this.socket = null;
      for (const done of this.waiting.splice(0)) done(error instanceof Error ? error : new Error('redis closed the connection'));
    };
    socket.on('error', lost);
    socket.on('close', lost);
    this.socket = socket;
  }

  call(...words) {
    return new Promise((resolve, reject) => {
      if (this.waiting.length > 1000) return reject(new Error('too many calls wait for redis'));
      if (!this.socket) this.connect();
      const timer = setTimeout(() => this.socket?.destroy(new Error('redis is too slow')), 2000);
      this.waiting.push((value) => {
        clearTimeout(timer);
        if (value instanceof Error) reject(value);
        else resolve(value);
      });
      this.socket.write(encode(words));
    });
  }
}

module.exports = { encode, decode, Redis };
