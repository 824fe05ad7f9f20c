'use strict';
// Run by tests/bindings.rs beside a daemon whose table has these names already.

const assert = require('node:assert');
const dns = require('node:dns');
const http = require('node:http');
const net = require('node:net');
const { lookup, mayBeInTable, dotsOf, namesOf } = require('./index.js');

const port = Number(process.env.HITHER_TEST_PORT);
const call = (host, options) =>
  new Promise((resolve, reject) =>
    lookup(host, options, (error, address, family) => (error ? reject(error) : resolve([address, family]))));

function rules() {
  for (const host of ['', '.', 'localhost', 'a.localhost', 'p.local', '127.1', '::1', 'a b.example', '-x.example', 'ü.example', 'single', undefined]) {
    assert.strictEqual(mayBeInTable(host), false, host);
  }
  for (const host of ['www.example.com', 'www.example.com.', '_x.example']) assert.ok(mayBeInTable(host), host);
  assert.deepStrictEqual([...namesOf('127.0.0.1 a B. # c\n# d e\n')], ['a', 'b']);
  assert.deepStrictEqual(['', 'options edns0 ndots:5', 'options ndots:x', 'options ndots:0'].map(dotsOf), [1, 5, 1, 1]);
}

async function lookups() {
  assert.deepStrictEqual(await call('web.example', 4), ['127.0.0.1', 4]);
  assert.deepStrictEqual(await call('WEB.example.', { family: 'IPv6' }), ['2001:db8::7', 6]);
  const [all] = await call('web.example', { all: true });
  assert.deepStrictEqual(all.map((one) => one.family).sort(), [4, 6]);
  const [four] = await call('web.example', { all: true, verbatim: false });
  assert.strictEqual(four[0].family, 4);
  assert.strictEqual((await call('many.example', { all: true }))[0].length, 40);
  assert.strictEqual((await call('v4.example', {}))[0], '198.18.0.4');
  for (const host of ['none.example', 'never.asked.example', '\0.example', 'a'.repeat(300) + '.example']) {
    await assert.rejects(call(host, {}), undefined, host);
  }
  assert.strictEqual((await call('127.0.0.1', {}))[0], '127.0.0.1');
  await new Promise((resolve, reject) =>
    lookup('web.example', (error, address) => (error || net.isIP(address) === 0 ? reject(error) : resolve())));
  assert.throws(() => lookup('web.example', {}), { code: 'ERR_INVALID_ARG_TYPE' });
}

async function fetched() {
  const agent = new http.Agent({ lookup });
  const body = await new Promise((resolve, reject) => {
    http.get({ host: 'web.example', port, agent, family: 4 }, (response) => {
      response.setEncoding('utf8').on('data', resolve);
    }).on('error', reject);
  });
  assert.strictEqual(body, 'hello');
  await assert.rejects(dns.promises.lookup('web.example'), undefined, 'the system knows the name too');
}

rules();
lookups().then(fetched).then(() => console.log('node passes'), (error) => {
  console.error(error);
  process.exit(1);
});
