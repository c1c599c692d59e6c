// An afternoon of a shop: v7 is on its way to its users, v6 serves the others.
const kNow = Date.now();
const digest = (seed) => (seed.repeat(40) + '0123456789abcdef').replace(/[^0-9a-f]/g, '7').slice(0, 12);
const commit = (seed) => (seed + 'c0ffee1234567890abcdef1234567890abcdef12').slice(0, 40);

function instance(id, service, version, side, more = {}) {
  return { id, app: 'shop', env: 'production', service, release_version: version, side, phase: 'ready', address: `10.88.0.${10 + id.length + version}`, pid: 4100 + version, attempt: 1, restarts: 0, exit_code: null, out_of_memory: false, oneshot: false, container: `${id}.1`, error: '', started: kNow - 4_000_000 / version, ready_at: kNow - 3_990_000 / version, memory_bytes: 21_400_000 + 3_300_000 * version, cpu_usec: 12_000_000, ...more };
}

const service = (name, more = {}) => ({ name, revision: digest(name), ready: 1, wanted: 1, stateful: false, oneshot: false, depends_on: [], addresses: [], changed_in_rollout: false, ...more });

const counts = (seen, bad, slow) => ({ users_seen: seen, users_bad: bad, users_slow: slow, requests: seen * 7, failed: bad * 2 });

function evidence(metric, canary, stable, m, odds) {
  const of = (c) => (metric === 'errors' ? c.users_bad : metric === 'latency' ? c.users_slow : 0);
  return { metric, canary, stable, bad_canary: of(canary), bad_stable: of(stable), share: 0.25, odds_ratio: odds, odds_low: odds * 0.4, odds_high: odds * 2.6, rate_high: 0.012, m, threshold: metric === 'crashes' ? 0 : 3000, exact_p: 0.8, exact_limit: 0.0003 };
}

export function rollout() {
  const canary = counts(312, 1, 3), stable = counts(941, 2, 9);
  return {
    id: 71, app: 'shop', env: 'production', from_version: 6, to_version: 7, commit: commit('7ab31f'), subject: 'Show what others bought beside the basket', strategy: 'canary', bake: 120_000, is_rollback: false,
    phase: 'stepping', step: 1,
    steps: [
      { weight: 500, started: kNow - 78_000, passed: kNow - 41_000, verdict: 'passed 5%: 104 users, nothing speaks against it; at most 3.4% of canary users meet errors (95%)' },
      { weight: 2500, started: kNow - 40_000, passed: 0, verdict: '' },
    ],
    planned: [{ weight: 500, min_duration: 30_000, min_users: 50 }, { weight: 2500, min_duration: 60_000, min_users: 50 }, { weight: 5000, min_duration: 30_000, min_users: 50 }],
    slow_us: 31_200, weight: 2500, reason: 'holding at 25%: 312 users, nothing speaks against it; at most 20s to go',
    verdict: { kind: 'hold', metric: '', reason: 'holding at 25%: 312 users, nothing speaks against it; at most 20s to go', evidence: [evidence('errors', canary, stable, 1.8, 1.5), evidence('latency', canary, stable, 0.7, 1.01), evidence('crashes', canary, stable, 1, 1)] },
    changed: ['web', 'recommend'], created: kNow - 92_000, first_user: kNow - 78_000, completed: 0, ended: 0,
    failed_requests: [
      { time: kNow - 12_300, side: 'canary', service: 'web', method: 'GET', path: '/basket/others?limit=12', status: 502, outcome: '5xx', duration_us: 48_211, trace_id: '4bf92f3577b34da6a3ce929d0e0e4736' },
      { time: kNow - 33_100, side: 'stable', service: 'web', method: 'POST', path: '/basket/items', status: 500, outcome: '5xx', duration_us: 9_120, trace_id: '00f067aa0ba902b700f067aa0ba902b7' },
    ],
  };
}

const pipelineOf = (id, version, subject, pushed, more = {}) => ({
  id, app: 'shop', commit: commit(`${id}e1f`), subject, author: 'Mina Park', state: 'succeeded', error: '', warnings: [],
  builds: [
    { service: 'web', state: 'succeeded', cached: false, started: pushed + 900, finished: pushed + 21_000, error: '' },
    { service: 'catalog', state: 'succeeded', cached: true, started: pushed + 900, finished: pushed + 910, error: '' },
    { service: 'recommend', state: 'succeeded', cached: false, started: pushed + 1_000, finished: pushed + 34_000, error: '' },
    { service: 'basket', state: 'succeeded', cached: true, started: pushed + 900, finished: pushed + 930, error: '' },
  ],
  release_version: version, pushed, planned_at: pushed + 700, finished: pushed + 35_000, ...more,
});

const release = (version, subject, current, more = {}) => ({
  id: 60 + version, taken_back: false, superseded: false, served: version < 7, version, commit: commit(`${version}ab31f`), subject, author: version % 2 ? 'Mina Park' : 'Jun Seo', created: kNow - 86_400_000 * (8 - version), current,
  services: ['web', 'catalog', 'recommend', 'basket', 'redis'].map((name, i) => ({ name, revision: digest(name + version), image: `sha256:${digest(name)}`, changed: (i + version) % 3 === 0 })), ...more,
});

function other(app, message, health, version, more = {}) {
  return { app, env: 'production', stopped: false, health, stable: version ? { id: version, version, commit: commit('be'), subject: 'Faster search' } : null, pending: null, services: version ? [service('api', { ready: health === 'ok' ? 1 : 0 }), service('postgres', { stateful: true })] : [], instances: [], rollout: null, pipeline: null, addresses: [], message, ...more };
}

export function makeWorld() {
  const running = pipelineOf(41, 7, 'Show what others bought beside the basket', kNow - 140_000);
  const inner = (name) => [`http://${name}.production.shop.localhost:8080`];
  const shop = {
    app: 'shop', env: 'production', stopped: false, health: 'ok',
    stable: { id: 66, version: 6, commit: commit('6ab31f'), subject: 'Search by colour' }, pending: null,
    services: [
      service('web', { changed_in_rollout: true, depends_on: ['catalog', 'basket'], addresses: ['http://localhost:8000', 'http://web.production.shop.localhost:8080'], ready: 2, wanted: 2 }),
      service('catalog', { addresses: inner('catalog') }), service('recommend', { addresses: inner('recommend'), changed_in_rollout: true, depends_on: ['catalog'] }), service('basket', { addresses: inner('basket'), depends_on: ['redis'] }), service('redis', { stateful: true }),
    ],
    instances: [
      instance('shop-web-11', 'web', 6, 'stable'), instance('shop-web-12', 'web', 6, 'stable'), instance('shop-web-31', 'web', 7, 'canary'),
      instance('shop-catalog-13', 'catalog', 5, 'both'), instance('shop-recommend-14', 'recommend', 6, 'stable'),
      instance('shop-recommend-32', 'recommend', 7, 'canary', { restarts: 1, error: 'exited with 1: cannot reach catalog', phase: 'waiting' }),
      instance('shop-basket-15', 'basket', 4, 'both'), instance('shop-redis-16', 'redis', 1, 'both'),
    ],
    rollout: rollout(), pipeline: running,
    addresses: [{ service: 'web', url: 'http://localhost:8000' }], message: 'holding at 25%: 312 users, nothing speaks against it; at most 20s to go',
  };
  const summary = (name, status) => ({ name, created: kNow - 900_000_000, environments: [{ name: 'production', stable: status.stable && { version: status.stable.version, commit: status.stable.commit }, rollout: status.rollout && { phase: status.rollout.phase, to: status.rollout.to_version, weight: status.rollout.weight }, health: status.health, message: status.message, addresses: status.addresses.map((a) => a.url) }] });
  const ledger = other('ledger', 'v3 serves everybody; v4 was taken back: errors for 21 of 88 canary users and 3 of 1702 stable users at 5%; a good release would come back so in at most 1 of 1000 rollouts; see `naru logs ledger`', 'ok', 3);
  const photos = other('photos', 'v12 serves everybody; photos-api-3 of api will be started again: exited with 139', 'degraded', 12);
  const notes = other('notes', 'nothing runs yet; push a commit', 'empty', 0);
  const statuses = { 'shop/production': shop, 'ledger/production': ledger, 'photos/production': photos, 'notes/production': notes };
  let sequence = 100;
  const event = (before, body) => ({ sequence: ++sequence, at: kNow - before, app: 'shop', event: body });
  const events = [
    event(140_000, { event: 'PipelineCreated', pipeline: { id: 41, subject: running.subject, commit: running.commit } }),
    event(139_300, { event: 'PipelinePlanned', pipeline: 41, spec: { services: ['web', 'catalog', 'recommend', 'basket', 'redis'] }, warnings: [] }),
    event(139_100, { event: 'BuildStarted', pipeline: 41, service: 'web' }),
    event(139_090, { event: 'BuildFinished', pipeline: 41, service: 'catalog', ok: true, cached: true, image: {}, error: '' }),
    event(119_000, { event: 'BuildFinished', pipeline: 41, service: 'web', ok: true, cached: false, image: {}, error: '' }),
    event(105_100, { event: 'PipelineFinished', pipeline: 41, state: 'succeeded', error: '', release: 67 }),
    event(105_000, { event: 'ReleaseCreated', release: { version: 7, subject: running.subject } }),
    event(92_000, { event: 'RolloutStarted', rollout: { id: 71 } }),
    event(91_000, { event: 'InstanceStarted', instance: 'shop-web-31', address: '10.88.0.20', pid: 77 }),
    event(80_000, { event: 'InstanceReady', instance: 'shop-web-31' }),
    event(78_000, { event: 'StepStarted', rollout: 71, step: 0, weight: 500, evidence_slot: 0, slow_us: 0 }),
    event(41_000, { event: 'StepPassed', rollout: 71, step: 0, verdict: shop.rollout.steps[0].verdict }),
    event(40_000, { event: 'StepStarted', rollout: 71, step: 1, weight: 2500, evidence_slot: 0, slow_us: 0 }),
    event(20_000, { event: 'InstanceExited', instance: 'shop-recommend-32', exit_code: 1, out_of_memory: false, error: 'exited with 1: cannot reach catalog', next: 'waiting', retry_at: 0 }),
    event(10_000, { event: 'AnEventOfTomorrow', detail: { deep: [1] } }),
  ];
  const lines = Array.from({ length: 120 }, (_, i) => ({ time: new Date(kNow - (120 - i) * 700).toISOString(), service: i % 3 ? 'web' : 'catalog', instance: i % 3 ? 'shop-web-11' : 'shop-catalog-13', stream: i % 17 === 5 ? 'stderr' : 'stdout', text: i % 17 === 5 ? `WARN slow answer of catalog: ${40 + i} ms` : `GET /products/${(i * 37) % 400} 200 ${3 + (i % 9)}ms user=${digest(String(i)).slice(0, 6)}` }));
  const failed = pipelineOf(40, null, 'Try the new recommender', kNow - 4_000_000, { state: 'failed', error: 'recommend: stage test: `ctest` ended with 8\n  recommend_test: 41 of 42 passed\n  Ranking.PutsNewestFirst: expected 3, got 2', release_version: null });
  failed.builds[2].state = 'failed';
  return {
    statuses, events, lines, sequence,
    apps: Object.values(statuses).map((s) => summary(s.app, s)),
    releases: { shop: [release(7, 'Show what others bought beside the basket', false), release(6, 'Search by colour', true), release(5, 'Catalog answers from memory', false, { taken_back: true, served: false }), release(4, 'Basket keeps for a week', false), release(1, 'First light', false)] },
    pipelines: { shop: [running, failed, pipelineOf(39, 6, 'Search by colour', kNow - 90_000_000)] },
    variables: ['PAYMENT_KEY', 'SMTP_PASSWORD'],
    pipelineLog: ['web | STEP 1/9 FROM debian:bookworm-slim', 'web | cached: base image unchanged', 'web | STEP 4/9 RUN g++ -O2 -o /out/web web.cc', 'recommend | STEP 2/6 COPY . /src', 'recommend | changed: src/rank.py', 'recommend | running stage test', 'recommend | 42 of 42 passed', ''].join('\n'),
    runningPipeline: 41,
    canaryFailureShare: 0.003,
  };
}

// What the sampler would say at that moment: smooth enough to look alive, the same each time.
export function trafficAt(world, at) {
  const wave = (period, phase) => Math.sin((at / 1000 / period) * 2 * Math.PI + phase);
  const out = [];
  for (const status of Object.values(world.statuses)) {
    const services = [];
    const active = status.rollout && !['done', 'rolled-back'].includes(status.rollout.phase) ? status.rollout : null;
    if (status.app === 'shop') {
      const total = 240 + 40 * wave(50, 0) + 18 * wave(7, 1) + 9 * wave(2.3, 2);
      const began = active?.steps[0]?.started ?? Infinity, second = active?.steps[1]?.started ?? Infinity;
      const share = !active || at < began ? 0 : at < second ? 0.05 : active.weight / 10_000;
      const row = (name, side, version, rps, failing, slower, ofUsers = false) => ({ name, side, version, requests_per_second: rps, failures_per_second: rps * failing, user_requests_per_second: ofUsers ? rps : 0, user_failures_per_second: ofUsers ? rps * failing : 0, p50_us: 4_200 * slower + 300 * wave(19, version), p99_us: 21_000 * slower + 3_000 * wave(41, version) + 1_500 * wave(11, version), active: 2, requests: 1, failures: 0 });
      services.push(row('web', 'stable', 6, total * (1 - share), 0.001 + 0.001 * wave(30, 0), 1, true));
      if (share > 0) services.push(row('web', 'canary', 7, total * share, world.canaryFailureShare, 0.85, true));
      services.push(row('catalog', 'both', 6, total * 1.8, 0, 0.4));
      services.push(row('basket', 'both', 6, total * 0.3, 0, 0.6));
    } else if (status.stable) {
      const rps = 31 + 12 * wave(20, status.stable.version), failures = status.health === 'degraded' ? 2.4 : 0;
      services.push({ name: 'api', side: 'stable', version: status.stable.version, requests_per_second: rps, failures_per_second: failures, user_requests_per_second: rps, user_failures_per_second: failures, p50_us: 2_000, p99_us: 9_000, active: 1, requests: 1, failures: 0 });
    }
    out.push({ app: status.app, env: status.env, at, services, users: active ? { stable: { seen: 941, bad: 2, slow: 9 }, canary: { seen: 312, bad: 1, slow: 3 } } : { stable: { seen: 0, bad: 0, slow: 0 }, canary: { seen: 0, bad: 0, slow: 0 } } });
  }
  return out;
}
